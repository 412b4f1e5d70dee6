"""What is behind `rerankq bulk`: a batch begun or found again, watched, and its output fetched.

order      what the command asks for, checked
state      what is known of a batch, whoever was asked
service    what the API and Redis are both asked (through_api, through_redis)
notes      the small file that lets a second run go on where the first one was
begin      the batch of an order: found, or started
watch      a batch until its end
progress   the line on a terminal that says how far it is
summary    what is printed at the end
estimate   what it would come to, from a sample
"""
