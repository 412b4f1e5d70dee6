-- commit: staged inputs become a job.
-- Precondition: the inputs are staged, the lane's backlog has room, the idempotency key is free.
-- Postcondition: the job and its entries exist and the inputs no longer expire; or nothing changed.
-- With a delay its entries come into being when that has passed (see reap): until then it must not
-- make an autoscaler start anything.
-- A replay answers `existing`, and so does another call with the id of a job that exists: what it
-- staged lies apart, so the job that runs is not touched. All is checked in here, so that API replicas
-- cannot race one another.
-- ARGV: id, n, max_backlog, idem key ('' for none), body hash, owner, deadline_in ms, delay ms,
--       token under which the inputs are staged, then field, value, ... of the header.
-- Returns {created | existing | conflict | full | unstaged, job id or open entries}.
local id, n, max_backlog = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local idem, body, owner, deadline_in = ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7])
local delay, staged = tonumber(ARGV[8]), STAGE .. ARGV[9]
local key, now = JOB .. id, now_ms()

if redis.call('EXISTS', key) == 1 then
  redis.call('DEL', staged .. INPUT, staged .. ECHO)
  return { 'existing', id }
end
if idem ~= '' then
  local known = redis.call('HMGET', IDEM .. idem, 'job', 'body')
  if known[1] and redis.call('EXISTS', JOB .. known[1]) == 1 then
    redis.call('DEL', staged .. INPUT, staged .. ECHO)
    return { known[2] == body and 'existing' or 'conflict', known[1] }
  end
end

local header = {}
for i = 10, #ARGV, 2 do header[ARGV[i]] = ARGV[i + 1] end
local lane = header.lane
local open = redis.call('ZCARD', PENDING .. lane)
-- A single job larger than the limit is let in when it is alone: otherwise it could never run.
if open > 0 and open + n > max_backlog then
  redis.call('DEL', staged .. INPUT, staged .. ECHO)
  return { 'full', tostring(open) }
end
if redis.call('HLEN', staged .. INPUT) ~= n then return { 'unstaged', id } end

-- First the write that a full Redis refuses, so that nothing is left half done.
redis.call('HSET', key, unpack(ARGV, 10))
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
  open_entries(id, lane, n, tonumber(header.stride), tonumber(header.entry_tokens), now)
end
redis.call('ZADD', DEADLINES, int(now + deadline_in), id)
redis.call('ZADD', JOBS .. owner, int(now), id)
redis.call('ZREMRANGEBYRANK', JOBS .. owner, 0, -(JOBS_KEPT + 1))
-- Nothing this caller made is kept for longer than its newest job can be.
local longest = int(deadline_in + tonumber(header.result_ttl))
if redis.call('PTTL', JOBS .. owner) < tonumber(longest) then
  redis.call('PEXPIRE', JOBS .. owner, longest)
end
count('queued', lane)
if idem ~= '' then
  redis.call('HSET', IDEM .. idem, 'job', id, 'body', body)
  redis.call('PEXPIRE', IDEM .. idem, longest)
end
return { 'created', id }
