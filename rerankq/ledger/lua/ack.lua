-- ack: something of an outbox was delivered, is given up, or is to be tried again.
-- Precondition: none; a replay, or an answer that comes after the lease, changes nothing that matters.
-- Postcondition: it is gone, or due again in the time given.
-- ARGV: outbox, job id, ms until the next try (-1: none).
-- Returns 1.
go_on_when_full()
local box, id, again = OUTBOX .. ARGV[1], ARGV[2], tonumber(ARGV[3])
if again < 0 then
  redis.call('ZREM', box, id)
else
  redis.call('ZADD', box, 'XX', int(now_ms() + again), id)
end
return 1
