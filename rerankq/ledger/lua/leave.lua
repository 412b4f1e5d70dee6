-- leave: a synchronous request that waited for a job has gone, or is long enough gone.
-- Precondition: none. Postcondition: it is no watcher any more; with `cancel`, a job without any
-- watcher is cancelled.
-- ARGV: job id, watcher, cancel (0/1).
-- Returns how many still wait.
go_on_when_full()
redis.call('SREM', JOB .. ARGV[1] .. WATCH, ARGV[2])
local left = redis.call('SCARD', JOB .. ARGV[1] .. WATCH)
if ARGV[3] == '1' and left == 0 then finish(ARGV[1], 'cancelled', '', now_ms()) end
return left
