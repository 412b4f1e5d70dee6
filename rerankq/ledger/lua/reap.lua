-- reap: what nobody holds any more goes back; jobs past their deadline end.
-- Precondition: the last reap is recent. Otherwise Redis or the host slept, nobody could renew,
-- and every lease is extended by one term instead.
-- Postcondition: lapsed entries are ready at their old place with the loss counted; one that was
-- lost on the device too often, or too often at all (a tokenizer can crash too), is a suspect from
-- then on. A suspect is only ever held alone, so each further loss is a strike of its own; with
-- `max_strikes` its job fails. A batch has more to lose by bad luck: a chunk has twice as many, and
-- is then given up, that is, a worker reads its lines into the errors file. Jobs past their deadline
-- are expired, delayed ones whose time has come can be taken; what a silent worker's device did is
-- no longer counted. A call touches about 2,000 entries of either at most, so that Redis is not held
-- for longer than some 30 ms; the next call goes on.
-- API replicas and workers all call it; no lock is needed.
-- ARGV: lease ms, max strikes, problem of an expired job, problem of a poisonous one (JSON).
-- Returns {reclaimed, expired, reclaimed ever}.
go_on_when_full()
local lease, max_strikes, expired_problem, poison_problem =
  tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4]
local now = now_ms()
local last = redis.call('GET', TICK)
redis.call('SET', TICK, int(now))
if not last or now - tonumber(last) > TICK_STALE_MS then
  for _, entry in ipairs(redis.call('ZRANGE', LEASE, 0, -1)) do
    redis.call('ZADD', LEASE, int(now + lease), entry)
  end
  return { 0, 0, tonumber(redis.call('GET', RECLAIMED) or 0) }
end

-- A worker that is silent does nothing; an autoscaler would keep replicas for what it once did.
redis.call('ZREMRANGEBYSCORE', BUSY, '-inf', '(' .. int(now - WORKER_SEEN_MS))

-- The entry's strikes, this loss counted.
local function count_loss(entry, header, k)
  local known = redis.call('HGET', TROUBLE, entry) or '0 0 0'
  local losses, on_device, strikes = string.match(known, '(%d+) (%d+) (%d+)')
  losses, on_device, strikes = losses + 1, tonumber(on_device), tonumber(strikes)
  if redis.call('HEXISTS', DEVICE, entry) == 1 then on_device = on_device + 1 end
  if redis.call('ZSCORE', SUSPECTS, entry) then
    strikes = strikes + 1
  elseif on_device >= SUSPECT_DEVICE_LOSSES or losses >= SUSPECT_LOSSES then
    redis.call('ZADD', SUSPECTS, int(header.created + k * header.stride), entry)
  end
  redis.call('HSET', TROUBLE, entry, int(losses) .. ' ' .. int(on_device) .. ' ' .. int(strikes))
  return strikes
end

-- Precondition: the entry has all its strikes. True if it is a chunk whose batch can go on without.
local function give_up_chunk(entry, id, k, header)
  local input = redis.call('HGET', JOB .. id .. INPUT, k)
  if header.lane ~= CHUNKS or not input or not string.match(input, '^%d') then return false end
  redis.call('HSET', JOB .. id .. INPUT, k, GIVEN_UP .. input)
  redis.call('HDEL', TROUBLE, entry)
  redis.call('ZREM', SUSPECTS, entry)
  make_ready(entry, id, k, CHUNKS, header)
  return true
end

local reclaimed = 0
for _, entry in ipairs(redis.call('ZRANGEBYSCORE', LEASE, '-inf', int(now), 'LIMIT', 0, REAPED_AT_ONCE)) do
  local id, k = job_and_k(entry)
  local header = header_of(id)
  if header and not FINAL[header.status] then
    reclaimed = reclaimed + 1
    local most = header.lane == CHUNKS and 2 * max_strikes or max_strikes
    if count_loss(entry, header, k) < most then
      make_ready(entry, id, k, header.lane, header)
    elseif not give_up_chunk(entry, id, k, header)
        and (header.lane ~= CHUNKS or stop_batch(id, 'failed', poison_problem, now) == 0) then
      finish(id, 'failed', poison_problem, now)
    end
  else
    redis.call('ZREM', LEASE, entry)
    redis.call('HDEL', OWNER, entry)
  end
end

if reclaimed > 0 then ring(reclaimed, now) end
local expired, dropped = 0, 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', DEADLINES, '-inf', int(now), 'LIMIT', 0, 100)) do
  if dropped >= REAPED_AT_ONCE then break end
  -- A batch that expires has its scored part merged first, and a day for that.
  if redis.call('HGET', JOB .. id, 'lane') == CHUNKS and stop_batch(id, 'expired', expired_problem, now) == 1 then
    expired = expired + 1
  else
    local open = finish(id, 'expired', expired_problem, now)
    if open then expired, dropped = expired + 1, dropped + open end
    redis.call('ZREM', DEADLINES, id)
  end
end
local opened = 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', SCHEDULED, '-inf', int(now), 'LIMIT', 0, 500)) do
  if opened >= REAPED_AT_ONCE then break end
  redis.call('ZREM', SCHEDULED, id)
  local header = header_of(id)
  if header and not FINAL[header.status] then
    -- Its place is that of a job which came just now.
    redis.call('HSET', JOB .. id, 'created', int(now))
    opened = opened + open_entries(id, header, now)
  end
end
return { reclaimed, expired, redis.call('INCRBY', RECLAIMED, reclaimed) }
