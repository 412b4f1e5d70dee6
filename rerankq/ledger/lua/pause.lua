-- pause: nothing of a lane is taken from now on, or it is taken again.
-- Precondition: none. Postcondition: what is leased goes on, what comes waits; deadlines run.
-- ARGV: lane, 1 to pause or 0 to resume.
-- Returns 1.
go_on_when_full()
redis.call(ARGV[2] == '1' and 'SADD' or 'SREM', PAUSED, ARGV[1])
return 1
