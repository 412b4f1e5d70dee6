-- Shared by every script; key names (PENDING, READY, ...) are put in front by scripts.py.
-- Single-node Redis only: the names are built here, not passed as KEYS.

-- A full Redis refuses a script whose first write needs memory, and lets one go on that has
-- written already. Leases, deadlines and results must go on: they are what frees memory.
local function go_on_when_full()
  redis.call('ZREM', LEASE, '')
end

local CHUNKS = 'chunks' -- where batches have their entries
local FINAL = { succeeded = true, failed = true, cancelled = true, expired = true }

local function int(number)
  return string.format('%.0f', number)
end

-- Redis's own clock, in ms: no host's clock matters.
local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function job_and_k(entry)
  return string.match(entry, '^(.*):(%d+)$')
end

-- Takes the entries out of every index. What they held is the caller's to account for.
local function drop_entries(entries, lane)
  for first = 1, #entries, 500 do -- unpack has a limit of a few thousand
    local slice = { unpack(entries, first, math.min(first + 499, #entries)) }
    redis.call('ZREM', PENDING .. lane, unpack(slice))
    redis.call('ZREM', READY .. lane, unpack(slice))
    redis.call('ZREM', LEASE, unpack(slice))
    redis.call('HDEL', OWNER, unpack(slice))
    redis.call('HDEL', DEVICE, unpack(slice))
    redis.call('HDEL', TROUBLE, unpack(slice))
    redis.call('ZREM', SUSPECTS, unpack(slice))
  end
end

local function release_tokens(lane, tokens)
  if tokens > 0 then redis.call('DECRBY', TOKENS .. lane, int(tokens)) end
end

-- Back among the entries to take, at its old place: waiting is never started anew.
local function make_ready(entry, id, k, lane, header)
  redis.call('ZREM', LEASE, entry)
  redis.call('HDEL', OWNER, entry)
  redis.call('HDEL', DEVICE, entry)
  -- A batch's goes first: its turn had come already.
  local score = lane == CHUNKS and 0 or header.created + k * header.stride
  redis.call('ZADD', READY .. lane, int(score), entry)
end

local function header_of(id)
  local h = redis.call('HMGET', JOB .. id, 'status', 'lane', 'created', 'stride', 'entry_tokens',
    'version', 'bound')
  if not h[1] then return nil end
  return { status = h[1], lane = h[2], created = tonumber(h[3]), stride = tonumber(h[4]),
    entry_tokens = tonumber(h[5]), version = tonumber(h[6]), bound = h[7] }
end

-- What has scored the job or some of it.
local function note_model(key, model, revision)
  local known = redis.call('HGET', key, 'revision')
  if not known then
    redis.call('HSET', key, 'model', model, 'revision', revision)
  elseif not string.find(known, revision, 1, true) then
    -- Its first model's workers are all gone; whoever reads the scores is told.
    redis.call('HSET', key, 'revision', known .. '+' .. revision)
  end
end

-- The job's entries that have no output yet.
local function entries_left(id)
  local left = redis.call('HKEYS', JOB .. id .. INPUT)
  for i, k in ipairs(left) do left[i] = id .. ':' .. k end
  return left
end

local function count(status, lane)
  redis.call('HINCRBY', COUNTS, status .. ' ' .. lane, 1)
end

-- Wakes as many workers as there are entries for. With none alive nobody would take the bells away;
-- one that starts looks by itself. An idle one that blocks on the list has its bell before a busy one
-- hears that there was any.
local function ring(entries, now)
  local workers = redis.call('ZCOUNT', WORKERS, int(now - WORKER_SEEN_MS), '+inf')
  local there, wanted = redis.call('LLEN', BELL), math.min(entries, workers)
  for _ = there + 1, wanted do redis.call('RPUSH', BELL, 1) end
  if there < wanted then redis.call('PUBLISH', RUNG, wanted) end
end

-- All of the job that has an input is there to be taken from now on.
local function open_entries(id, header, now)
  local open = redis.call('HKEYS', JOB .. id .. INPUT)
  for _, k in ipairs(open) do
    local entry = id .. ':' .. k
    redis.call('ZADD', PENDING .. header.lane, int(now), entry)
    redis.call('ZADD', READY .. header.lane, int(now + k * header.stride), entry)
  end
  redis.call('INCRBY', TOKENS .. header.lane, int(#open * header.entry_tokens))
  ring(#open, now)
  return #open
end

-- A single job larger than the limit is let in when it is alone: otherwise it could never run.
local function backlog_full(lane, n, max_backlog)
  local open = redis.call('ZCARD', PENDING .. lane)
  return open > 0 and open + n > max_backlog and open
end

-- The new job is in its owner's list, is counted and has a deadline. Returns for how long in ms
-- anything of it can be kept.
local function enter(id, lane, owner, deadline_in, result_ttl, now)
  redis.call('ZADD', DEADLINES, int(now + deadline_in), id)
  redis.call('ZADD', JOBS .. owner, int(now), id)
  redis.call('ZREMRANGEBYRANK', JOBS .. owner, 0, -(JOBS_KEPT + 1))
  -- Nothing this caller made is kept for longer than its newest job can be.
  local longest = deadline_in + result_ttl
  if redis.call('PTTL', JOBS .. owner) < longest then
    redis.call('PEXPIRE', JOBS .. owner, int(longest))
  end
  count('queued', lane)
  return int(longest)
end

-- Precondition: the job exists and is not final; otherwise nothing happens, so the first caller
-- wins every race. Postcondition: final once, no entry and no input left, keys have their time
-- to live, its webhook and its public task's result are due, everyone who waits for it or works on
-- it is told. What was not scored of one that failed is kept as long as its header, for a retry,
-- unless the failure is its caller's (a problem of 4xx), which a retry would repeat for as long as
-- the model and its limits stay.
-- Returns how many entries were still open, or nil if nothing happened.
local function finish(id, status, problem, now)
  local header = header_of(id)
  if not header or FINAL[header.status] then return nil end
  local key = JOB .. id
  local open = entries_left(id)
  if redis.call('ZREM', SCHEDULED, id) == 0 then
    drop_entries(open, header.lane)
    release_tokens(header.lane, #open * header.entry_tokens)
  end
  local told = problem ~= '' and cjson.decode(problem)
  local ours = not told or told.status >= 500
  if status == 'failed' and ours and #open > 0 then redis.call('RENAME', key .. INPUT, key .. KEPT) end
  redis.call('DEL', key .. INPUT, key .. WATCH, key .. PLAN)
  redis.call('HSET', key, 'status', status, 'finished', int(now))
  if problem ~= '' then redis.call('HSET', key, 'error', problem) end
  local ttl = redis.call('HGET', key, 'result_ttl')
  redis.call('HSET', key, 'retained', int(now + ttl))
  for _, part in ipairs({ '', OUTPUT, ECHO, KEPT }) do redis.call('PEXPIRE', key .. part, ttl) end
  redis.call('ZREM', DEADLINES, id)
  redis.call('SREM', BATCHES, id)
  for _, box in ipairs({ 'webhook', 'task' }) do
    if redis.call('HEXISTS', key, box) == 1 then redis.call('ZADD', OUTBOX .. box, int(now), id) end
  end
  count(status, header.lane)
  if status == 'failed' and told then redis.call('HINCRBY', FAILURES, told.code, 1) end
  redis.call('PUBLISH', DONE, id .. ' ' .. status .. ' ' .. header.lane .. ' ' ..
    int(now - header.created))
  if header.lane == CHUNKS then redis.call('PUBLISH', ENDED .. id, status) end
  if #open > 0 then redis.call('PUBLISH', GONE, id) end
  return #open
end

-- Batches: jobs whose entries lie in CHUNKS. Entry 0 plans, 1 to n are its chunks, n + 1 merges.
local function open_chunk(id, k, input, score, header, now)
  local entry = id .. ':' .. k
  redis.call('HSET', JOB .. id .. INPUT, k, input)
  redis.call('ZADD', PENDING .. CHUNKS, int(now), entry)
  redis.call('ZADD', READY .. CHUNKS, int(score), entry)
  redis.call('INCRBY', TOKENS .. CHUNKS, int(header.entry_tokens))
end

-- Chunks out of the plan, so that CHUNKS_OPEN of the batch are open. Each has its place one stride
-- behind the one before, and none before what is served now (see take): so several batches take
-- turns, however long one has been at it and however many workers there are.
local function feed(id, header, now)
  local key = JOB .. id
  local open, fed = redis.call('HLEN', key .. INPUT), 0
  local score = tonumber(redis.call('HGET', key, 'fed_at') or 0)
  local served = tonumber(redis.call('GET', SERVED) or 0)
  while open < CHUNKS_OPEN do
    local chunk = redis.call('LPOP', key .. PLAN)
    if not chunk then break end
    score = math.max(served, score + header.stride)
    open_chunk(id, redis.call('HINCRBY', key, 'fed', 1), chunk, score, header, now)
    open, fed = open + 1, fed + 1
  end
  if fed > 0 then
    redis.call('HSET', key, 'fed_at', int(score))
    ring(fed, now)
  end
end

local function open_merge(id, header, now)
  local k = int(tonumber(redis.call('HGET', JOB .. id, 'chunks')) + 1)
  redis.call('HSET', JOB .. id, 'merging', int(now))
  open_chunk(id, k, 'merge', 0, header, now)
  ring(1, now)
end

-- Precondition: the batch is not final and not being merged; otherwise nothing happens.
-- Postcondition: none of its chunks is scored any more, and what was scored is merged before it
-- gets this status; one that was not planned yet has it at once.
-- Returns 1 if this call stopped it, 0 otherwise.
local function stop_batch(id, status, problem, now)
  local header = header_of(id)
  if not header or FINAL[header.status] then return 0 end
  local key = JOB .. id
  local known = redis.call('HMGET', key, 'planned', 'merging', 'ending')
  if not known[1] then
    finish(id, status, problem, now)
    return 1
  end
  if known[3] then return 0 end
  if known[2] then
    -- All is scored: its deadline leaves it the time to be merged, once.
    if status ~= 'expired' or redis.call('HSETNX', key, 'overtime', 1) == 0 then return 0 end
    redis.call('ZADD', DEADLINES, int(now + MERGE_MS), id)
    return 1
  end
  local open = entries_left(id)
  drop_entries(open, CHUNKS)
  release_tokens(CHUNKS, #open * header.entry_tokens)
  redis.call('DEL', key .. PLAN, key .. INPUT)
  redis.call('HSET', key, 'ending', status, 'left', 1)
  if problem ~= '' then redis.call('HSET', key, 'error', problem) end
  redis.call('ZADD', DEADLINES, int(now + MERGE_MS), id)
  redis.call('PUBLISH', GONE, id)
  open_merge(id, header, now)
  return 1
end
