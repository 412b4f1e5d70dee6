-- pause: nothing of a lane is taken from now on, or it is taken again.
-- Precondition: none. Postcondition: what is leased goes on, what comes waits; deadlines run. Resumed,
-- workers are told of what has come meanwhile.
-- ARGV: lane, 1 to pause or 0 to resume.
-- Returns 1.
go_on_when_full()
local lane, pausing = ARGV[1], ARGV[2] == '1'
redis.call(pausing and 'SADD' or 'SREM', PAUSED, lane)
if not pausing then ring(redis.call('ZCARD', READY .. lane), now_ms()) end
return 1
