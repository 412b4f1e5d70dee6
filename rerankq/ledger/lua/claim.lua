-- claim: webhooks that are due become the caller's for one lease.
-- Precondition: none. Postcondition: each returned one is due again when the lease ends, so that a
-- caller that dies delays it and no more; its attempt is counted. One whose job is forgotten is gone.
-- ARGV: lease ms, most.
-- Returns {job id, url, attempt}, ...
go_on_when_full()
local now, claimed = now_ms(), {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', WEBHOOKS, '-inf', int(now), 'LIMIT', 0, ARGV[2])) do
  local url = redis.call('HGET', JOB .. id, 'webhook')
  if url then
    redis.call('ZADD', WEBHOOKS, int(now + tonumber(ARGV[1])), id)
    claimed[#claimed + 1] = { id, url, redis.call('HINCRBY', JOB .. id, 'webhook_attempts', 1) }
  else
    redis.call('ZREM', WEBHOOKS, id)
  end
end
return claimed
