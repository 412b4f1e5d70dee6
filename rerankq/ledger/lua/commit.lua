-- commit: staged inputs become a job.
-- Precondition: the inputs are staged, the lane's backlog has room, the idempotency key is free.
-- Postcondition: the job and its entries exist and the inputs no longer expire; or nothing changed.
-- With a delay its entries come into being when that has passed (see reap): until then it must not
-- make an autoscaler start anything.
-- A replay answers `existing`, and so does another call with the id of a job that exists: what it
-- staged lies apart, so the job that runs is not touched. All is checked in here, so that API replicas
-- cannot race one another.
-- With a time to join, the key is that of a synchronous request: another one like it within that
-- time waits for the same job, unless that came to nothing; each is in the job's set of watchers.
-- ARGV: id, n, max_backlog, idem key ('' for none), body hash, owner, deadline_in ms, delay ms,
--       token under which the inputs are staged, ms to join (0: none), then field, value, ... of the
--       header.
-- Returns {created | existing | conflict | full | unstaged, job id or open entries}.
local id, n, max_backlog = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local idem, body, owner, deadline_in = ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7])
local delay, staged, join = tonumber(ARGV[8]), STAGE .. ARGV[9], tonumber(ARGV[10])
local key, now = JOB .. id, now_ms()

local function watch(job)
  if join > 0 then
    redis.call('SADD', JOB .. job .. WATCH, id)
    redis.call('PEXPIRE', JOB .. job .. WATCH, int(deadline_in))
  end
end

if redis.call('EXISTS', key) == 1 then
  redis.call('DEL', staged .. INPUT, staged .. ECHO)
  return { 'existing', id }
end
if idem ~= '' then
  local known = redis.call('HMGET', IDEM .. idem, 'job', 'body')
  local job = known[1] and header_of(known[1])
  if job and (join == 0 or job.status == 'succeeded' or not FINAL[job.status]) then
    redis.call('DEL', staged .. INPUT, staged .. ECHO)
    if not FINAL[job.status] then watch(known[1]) end
    return { known[2] == body and 'existing' or 'conflict', known[1] }
  end
end

local header = {}
for i = 11, #ARGV, 2 do header[ARGV[i]] = ARGV[i + 1] end
local lane = header.lane
local open = backlog_full(lane, n, max_backlog)
if open then
  redis.call('DEL', staged .. INPUT, staged .. ECHO)
  return { 'full', tostring(open) }
end
if redis.call('HLEN', staged .. INPUT) ~= n then return { 'unstaged', id } end

-- First the write that a full Redis refuses, so that nothing is left half done.
redis.call('HSET', key, unpack(ARGV, 11))
redis.call('HSET', key, 'status', 'queued', 'left', n, 'created', int(now), 'scored', 0,
  'deadline', int(now + deadline_in))
for _, part in ipairs({ INPUT, ECHO }) do
  if redis.call('EXISTS', staged .. part) == 1 then
    redis.call('RENAME', staged .. part, key .. part)
    redis.call('PERSIST', key .. part)
  end
end
if delay > 0 then
  redis.call('ZADD', SCHEDULED, int(now + delay), id)
else
  open_entries(id, header, now)
end
watch(id)
local longest = enter(id, lane, owner, deadline_in, tonumber(header.result_ttl), now)
if idem ~= '' then
  redis.call('HSET', IDEM .. idem, 'job', id, 'body', body)
  redis.call('PEXPIRE', IDEM .. idem, join > 0 and int(join) or longest)
end
return { 'created', id }
