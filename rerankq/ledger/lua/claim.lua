-- claim: what is due of an outbox (webhooks, results of public tasks) becomes the caller's for one
-- lease.
-- Precondition: none. Postcondition: each returned one is due again when its lease ends, so that a
-- caller that dies delays it and no more; its attempt is counted, and lengthens its next lease. One
-- whose job is forgotten is gone.
-- ARGV: outbox, lease ms, most.
-- Returns {job id, what the job's header says to send, attempt}, ...
go_on_when_full()
local box, lease, most = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local now, claimed = now_ms(), {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', OUTBOX .. box, '-inf', int(now), 'LIMIT', 0, most)) do
  local what = redis.call('HGET', JOB .. id, box)
  if what then
    local attempt = redis.call('HINCRBY', JOB .. id, box .. '_attempts', 1)
    -- Twice as long each time: it may not be lost but wait in a long queue, which a copy lengthens.
    redis.call('ZADD', OUTBOX .. box, int(now + lease * 2 ^ math.min(attempt - 1, 6)), id)
    claimed[#claimed + 1] = { id, what, attempt }
  else
    redis.call('ZREM', OUTBOX .. box, id)
  end
end
return claimed
