-- reap: what nobody holds any more goes back; jobs past their deadline end.
-- Precondition: the last reap is recent. Otherwise Redis or the host slept, nobody could renew,
-- and every lease is extended by one term instead.
-- Postcondition: lapsed entries are ready at their old place with the loss counted; jobs past their
-- deadline are expired. A call touches about 2,000 entries of either at most, so that Redis is not
-- held for longer than some 30 ms; the next call goes on.
-- API replicas and workers all call it; no lock is needed.
-- ARGV: lease ms, problem of an expired job as JSON.
-- Returns {reclaimed, expired, reclaimed ever}.
go_on_when_full()
local lease, problem = tonumber(ARGV[1]), ARGV[2]
local now = now_ms()
local last = redis.call('GET', TICK)
redis.call('SET', TICK, int(now))
if not last or now - tonumber(last) > TICK_STALE_MS then
  for _, entry in ipairs(redis.call('ZRANGE', LEASE, 0, -1)) do
    redis.call('ZADD', LEASE, int(now + lease), entry)
  end
  return { 0, 0, tonumber(redis.call('GET', RECLAIMED) or 0) }
end

local function count_loss(entry)
  local losses, on_device = string.match(redis.call('HGET', TROUBLE, entry) or '0 0', '(%d+) (%d+)')
  if redis.call('HEXISTS', DEVICE, entry) == 1 then on_device = on_device + 1 end
  redis.call('HSET', TROUBLE, entry, int(losses + 1) .. ' ' .. int(on_device))
end

local reclaimed = 0
for _, entry in ipairs(redis.call('ZRANGEBYSCORE', LEASE, '-inf', int(now), 'LIMIT', 0, REAPED_AT_ONCE)) do
  local id, k = job_and_k(entry)
  local header = header_of(id)
  if header and not FINAL[header.status] then
    count_loss(entry)
    make_ready(entry, id, k, header.lane, header)
    reclaimed = reclaimed + 1
  else
    redis.call('ZREM', LEASE, entry)
    redis.call('HDEL', OWNER, entry)
  end
end

local expired, dropped = 0, 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', DEADLINES, '-inf', int(now), 'LIMIT', 0, 100)) do
  if dropped >= REAPED_AT_ONCE then break end
  local open = finish(id, 'expired', problem, now)
  if open then expired, dropped = expired + 1, dropped + open end
  redis.call('ZREM', DEADLINES, id)
end
return { reclaimed, expired, redis.call('INCRBY', RECLAIMED, reclaimed) }
