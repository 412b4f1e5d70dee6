-- leave: a synchronous request that waited for a job has gone, or is long enough gone.
-- Precondition: none. Postcondition: it is no watcher any more; with `cancel`, a job without any
-- watcher is cancelled, unless another one has gone since, which may still come back.
-- ARGV: job id, watcher, cancel (0/1).
-- Returns how many still wait.
go_on_when_full()
local id, watcher, cancel = ARGV[1], ARGV[2], ARGV[3] == '1'
local key, header = JOB .. id, header_of(id)
local watched = redis.call('SREM', key .. WATCH, watcher) == 1
local left = redis.call('SCARD', key .. WATCH)
if not header or FINAL[header.status] then return left end
if not cancel then
  redis.call('HSET', key, 'gone', watcher)
elseif left == 0 and (watched or (redis.call('HGET', key, 'gone') or watcher) == watcher) then
  finish(id, 'cancelled', '', now_ms())
end
return left
