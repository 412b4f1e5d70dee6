-- retry: what was not scored of a job that failed is tried once more, as a new job.
-- A final state is never left, so that whoever was told of it stays right.
-- Precondition: the job has failed, not by its caller's fault; its inputs are still kept; the
-- lane's backlog has room.
-- Postcondition: the new job has what was scored already, and entries for the rest, with no loss
-- counted; it has the old one's owner, time to its deadline and webhook, but no public task: that
-- has had its result. A replay answers `existing`, unless the new job has failed and gone, too.
-- ARGV: id, id of the new job, max_backlog.
-- Returns {created | existing | unknown | full | not_failed | gone, job id or open entries or status}.
local id, fresh, max_backlog = ARGV[1], ARGV[2], tonumber(ARGV[3])
local key, new, now, header = JOB .. id, JOB .. ARGV[2], now_ms(), header_of(ARGV[1])
if not header then return { 'unknown', '' } end
if header.status ~= 'failed' then return { 'not_failed', header.status } end
local known = redis.call('HGET', key, 'retried')
if known and redis.call('EXISTS', JOB .. known) == 1 then return { 'existing', known } end
local n = redis.call('HLEN', key .. KEPT)
if n == 0 then return { 'gone', id } end
local open = backlog_full(header.lane, n, max_backlog)
if open then return { 'full', tostring(open) } end

-- First the write that a full Redis refuses, so that nothing is left half done.
redis.call('COPY', key .. KEPT, new .. INPUT)
for _, part in ipairs({ '', OUTPUT, ECHO }) do redis.call('COPY', key .. part, new .. part) end
for _, part in ipairs({ '', INPUT, OUTPUT, ECHO }) do redis.call('PERSIST', new .. part) end
redis.call('HSET', key, 'retried', fresh)
local old = redis.call('HMGET', key, 'deadline', 'owner', 'result_ttl')
local deadline_in = old[1] - header.created
redis.call('HDEL', new, 'error', 'started', 'finished', 'retained', 'task', 'task_attempts',
  'webhook_attempts', 'retried')
redis.call('HSET', new, 'status', 'queued', 'left', n, 'created', int(now),
  'deadline', int(now + deadline_in))
open_entries(fresh, header, now)
enter(fresh, header.lane, old[2], deadline_in, tonumber(old[3]), now)
return { 'created', fresh }
