-- ack: a webhook was delivered, is given up, or is to be tried again.
-- Precondition: none; a replay, or an answer that comes after the lease, changes nothing that matters.
-- Postcondition: it is gone, or due again in the time given.
-- ARGV: job id, ms until the next try (-1: none).
-- Returns 1.
go_on_when_full()
if ARGV[2] == '-1' then
  redis.call('ZREM', WEBHOOKS, ARGV[1])
else
  redis.call('ZADD', WEBHOOKS, 'XX', int(now_ms() + tonumber(ARGV[2])), ARGV[1])
end
return 1
