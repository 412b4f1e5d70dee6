-- Shared by every script; key names (PENDING, READY, ...) are put in front by scripts.py.
-- Single-node Redis only: the names are built here, not passed as KEYS.

-- A full Redis refuses a script whose first write needs memory, and lets one go on that has
-- written already. Leases, deadlines and results must go on: they are what frees memory.
local function go_on_when_full()
  redis.call('ZREM', LEASE, '')
end

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

-- Takes the entry out of every index. What it held is the caller's to account for.
local function drop_entry(entry, lane)
  redis.call('ZREM', PENDING .. lane, entry)
  redis.call('ZREM', READY .. lane, entry)
  redis.call('ZREM', LEASE, entry)
  redis.call('HDEL', OWNER, entry)
  redis.call('HDEL', DEVICE, entry)
  redis.call('HDEL', TROUBLE, entry)
end

local function release_tokens(lane, tokens)
  if tokens > 0 then redis.call('DECRBY', TOKENS .. lane, int(tokens)) end
end

-- Back among the entries to take, at its old place: waiting is never started anew.
local function make_ready(entry, id, k, lane, header)
  redis.call('ZREM', LEASE, entry)
  redis.call('HDEL', OWNER, entry)
  redis.call('HDEL', DEVICE, entry)
  redis.call('ZADD', READY .. lane, int(header.created + k * header.stride), entry)
end

local function header_of(id)
  local h = redis.call('HMGET', JOB .. id, 'status', 'lane', 'created', 'stride', 'entry_tokens',
    'version', 'context')
  if not h[1] then return nil end
  return { status = h[1], lane = h[2], created = tonumber(h[3]), stride = tonumber(h[4]),
    entry_tokens = tonumber(h[5]), version = tonumber(h[6]), context = h[7] }
end

-- Precondition: the job exists and is not final; otherwise nothing happens, so the first caller
-- wins every race. Postcondition: final once, no entry and no input left, keys have their time
-- to live, everyone who waits is told.
local function finish(id, status, problem, now)
  local header = header_of(id)
  if not header or FINAL[header.status] then return false end
  local key = JOB .. id
  local open = redis.call('HKEYS', key .. INPUT)
  for _, k in ipairs(open) do drop_entry(id .. ':' .. k, header.lane) end
  release_tokens(header.lane, #open * header.entry_tokens)
  redis.call('DEL', key .. INPUT)
  redis.call('HSET', key, 'status', status, 'finished', int(now))
  if problem ~= '' then redis.call('HSET', key, 'error', problem) end
  local ttl = redis.call('HGET', key, 'result_ttl')
  redis.call('HSET', key, 'retained', int(now + ttl))
  for _, part in ipairs({ '', OUTPUT, ECHO }) do redis.call('PEXPIRE', key .. part, ttl) end
  redis.call('ZREM', DEADLINES, id)
  redis.call('HINCRBY', COUNTS, status .. ' ' .. header.lane, 1)
  redis.call('PUBLISH', DONE, id .. ' ' .. status .. ' ' .. header.lane .. ' ' ..
    int(now - header.created))
  return true
end
