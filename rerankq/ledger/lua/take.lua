-- take: ready entries become this worker's.
-- Precondition: the room was measured before; an entry is ready, its job live, its lane not paused.
-- Postcondition: each returned entry is leased and owned by the caller, its job is running and bound
-- to the caller's model; with a mark, and if it is the only one, it counts as on the device, as by
-- `hold`: a worker with nothing else to do launches it at once.
-- Interactive work is taken while any room is left. Bulk work has to fit into `bulk_room`, which
-- leaves one batch's worth to interactive work, unless it is bulk's turn or nothing is held.
-- A suspect (see reap) is only taken alone: with `alone`, by a worker that holds nothing else.
-- A batch's chunks are taken by number, since each takes its worker's room piece by piece.
-- ARGV: worker, model fingerprint, lease ms, record version, most entries, room, bulk_room,
--       bulk's turn (0/1), nothing held (0/1), alone (0/1), mark (0/1), most chunks.
-- Returns {bulk still ready, anything still ready, whether to come back alone (0/1), {entry, lane,
-- fair score, tokens, ms since acceptance, context, input, traceparent or false}, ...}.
go_on_when_full()
local worker, model = ARGV[1], ARGV[2]
local lease, version = tonumber(ARGV[3]), tonumber(ARGV[4])
local most, room, bulk_room = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local bulk_turn, idle, alone = ARGV[8] == '1', ARGV[9] == '1', ARGV[10] == '1'
local mark, chunks = ARGV[11] == '1', tonumber(ARGV[12])
local now, taken = now_ms(), {}

local function paused(lane)
  return redis.call('SISMEMBER', PAUSED, lane == CHUNKS and 'bulk' or lane) == 1
end

local function fits(lane, tokens)
  if lane == CHUNKS or (idle and #taken == 0) then return true end
  if lane == 'interactive' or bulk_turn then return room > 0 end
  return tokens <= bulk_room
end

-- A job is scored by one model, for as long as any worker that has it is alive.
local function ours(header)
  if header.version > version then return false end
  if not header.bound or header.bound == model then return true end
  local seen = redis.call('ZSCORE', MODELS, header.bound)
  return not seen or now - tonumber(seen) > WORKER_TTL_MS
end

local function lease_entry(entry, score, lane, id, k, header)
  redis.call('ZREM', READY .. lane, entry)
  redis.call('ZADD', LEASE, int(now + lease), entry)
  redis.call('HSET', OWNER, entry, worker)
  if header.bound ~= model then redis.call('HSET', JOB .. id, 'bound', model) end
  if header.status == 'queued' then
    redis.call('HSET', JOB .. id, 'status', 'running', 'started', int(now))
    count('running', lane)
  end
  local shared = redis.call('HMGET', JOB .. id, 'context', 'traceparent')
  local input = redis.call('HGET', JOB .. id .. INPUT, k)
  local waited = int(now - header.created)
  taken[#taken + 1] = { entry, lane, score, int(header.entry_tokens), waited, shared[1], input,
    shared[2] }
  if lane == CHUNKS then
    -- The chunks' own clock: it goes as they are served, however fast.
    local served = tonumber(redis.call('GET', SERVED) or 0)
    redis.call('SET', SERVED, int(math.max(served, tonumber(score))))
  else
    room, bulk_room = room - header.entry_tokens, bulk_room - header.entry_tokens
  end
end

-- Up to `limit` entries of the lane. Suspects, and what another version or model has to score, are
-- passed over, a few hundred of them a call.
local function take_lane(lane, limit)
  if paused(lane) then return end
  limit = limit + #taken
  local passed = 0
  while #taken < limit and passed < 500 do
    local ready = redis.call('ZRANGE', READY .. lane, passed, passed + limit - 1, 'WITHSCORES')
    if #ready == 0 then return end
    for i = 1, #ready, 2 do
      if #taken == limit then return end
      local entry = ready[i]
      local id, k = job_and_k(entry)
      local header = header_of(id)
      if not header or FINAL[header.status] then
        drop_entries({ entry }, lane)
      elseif not ours(header) or redis.call('ZSCORE', SUSPECTS, entry) then
        passed = passed + 1
      else
        -- In strict order: letting smaller entries pass would starve a large one.
        if not fits(lane, header.entry_tokens) then return end
        lease_entry(entry, ready[i + 1], lane, id, k, header)
      end
    end
  end
end

-- The first suspect that nobody holds: its entry, score, lane, id, k, header.
local function ready_suspect()
  for _, entry in ipairs(redis.call('ZRANGE', SUSPECTS, 0, 99)) do
    local id, k = job_and_k(entry)
    local header = header_of(id)
    if header and ours(header) and not paused(header.lane) then
      local score = redis.call('ZSCORE', READY .. header.lane, entry)
      if score then return entry, score, header.lane, id, k, header end
    end
  end
end

if alone then
  if redis.call('GET', SOLO) == worker then redis.call('DEL', SOLO) end
  local entry, score, lane, id, k, header = ready_suspect()
  if entry then lease_entry(entry, score, lane, id, k, header) end
  return { 0, 0, 0, unpack(taken) }
end

if bulk_turn then take_lane('bulk', 1) end
bulk_turn = false
take_lane('interactive', most - #taken)
take_lane('bulk', most - #taken)
take_lane(CHUNKS, chunks)
if mark and #taken == 1 and taken[1][2] ~= CHUNKS then redis.call('HSET', DEVICE, taken[1][1], worker) end
-- One worker at a time empties itself for a suspect; a storm must not stop the whole fleet.
local called = 0
if ready_suspect() and redis.call('SET', SOLO, worker, 'NX', 'PX', int(lease)) then called = 1 end
local function ready(lane)
  return paused(lane) and 0 or redis.call('ZCARD', READY .. lane)
end
local bulk_ready = ready('bulk')
return { bulk_ready, bulk_ready + ready('interactive'), called, unpack(taken) }
