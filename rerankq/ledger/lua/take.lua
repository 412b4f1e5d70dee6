-- take: ready entries become this worker's.
-- Precondition: the room was measured before; an entry is ready and its job live.
-- Postcondition: each returned entry is leased and owned by the caller, its job is running.
-- Interactive work is taken while any room is left. Bulk work has to fit into `bulk_room`, which
-- leaves one batch's worth to interactive work, unless it is bulk's turn or nothing is held.
-- ARGV: worker, lease ms, record version, most entries, room, bulk_room, bulk's turn (0/1),
--       nothing held (0/1).
-- Returns {bulk still ready, {entry, lane, fair score, tokens, ms since acceptance, context,
-- input}, ...}.
go_on_when_full()
local worker, lease, version = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local most, room, bulk_room = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local bulk_turn, idle = ARGV[7] == '1', ARGV[8] == '1'
local now, taken = now_ms(), {}

local function fits(lane, tokens)
  if idle and #taken == 0 then return true end
  if lane == 'interactive' or bulk_turn then return room > 0 end
  return tokens <= bulk_room
end

local function lease_entry(entry, score, lane, id, k, header)
  redis.call('ZREM', READY .. lane, entry)
  redis.call('ZADD', LEASE, int(now + lease), entry)
  redis.call('HSET', OWNER, entry, worker)
  if header.status == 'queued' then
    redis.call('HSET', JOB .. id, 'status', 'running', 'started', int(now))
    count('running', lane)
  end
  local context = redis.call('HGET', JOB .. id, 'context')
  local input = redis.call('HGET', JOB .. id .. INPUT, k)
  local waited = int(now - header.created)
  taken[#taken + 1] = { entry, lane, score, int(header.entry_tokens), waited, context, input }
  room, bulk_room = room - header.entry_tokens, bulk_room - header.entry_tokens
end

-- Up to `limit` entries of the lane. Those of a later version are another worker's: they are passed
-- over, a few hundred of them a call.
local function take_lane(lane, limit)
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
      elseif header.version > version then
        passed = passed + 1
      else
        -- In strict order: letting smaller entries pass would starve a large one.
        if not fits(lane, header.entry_tokens) then return end
        lease_entry(entry, ready[i + 1], lane, id, k, header)
      end
    end
  end
end

if bulk_turn then take_lane('bulk', 1) end
bulk_turn = false
take_lane('interactive', most - #taken)
take_lane('bulk', most - #taken)
return { redis.call('ZCARD', READY .. 'bulk'), unpack(taken) }
