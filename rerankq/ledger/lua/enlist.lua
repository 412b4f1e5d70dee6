-- enlist: a batch is accepted.
-- Precondition: its idempotency key is free, or what it named came to nothing; no batch that is not
-- final writes to the same output.
-- Postcondition: the batch exists with one entry, which plans it. A replay answers `existing`.
-- ARGV: id, most batches at once, idem key ('' for none), body hash, whose list it is in,
--       deadline_in ms, digest of its output's URL, then field, value, ... of the header.
-- Returns {created | existing | conflict | output_taken | full, batch id or how many there are}.
local id, most, idem, body, owner = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
local deadline_in, key, now = tonumber(ARGV[6]), JOB .. ARGV[1], now_ms()
local output = OUTPUT_OF .. ARGV[7]
if redis.call('EXISTS', key) == 1 then return { 'existing', id } end
if idem ~= '' then
  local known = redis.call('HMGET', IDEM .. idem, 'job', 'body')
  local job = known[1] and header_of(known[1])
  if job and (job.status == 'succeeded' or not FINAL[job.status]) then
    return { known[2] == body and 'existing' or 'conflict', known[1] }
  end
end
local writer = redis.call('GET', output)
if writer and redis.call('SISMEMBER', BATCHES, writer) == 1 then return { 'output_taken', writer } end
local open = redis.call('SCARD', BATCHES)
if open >= most then return { 'full', tostring(open) } end
redis.call('HSET', key, unpack(ARGV, 8))
redis.call('HSET', key, 'status', 'queued', 'left', 1, 'created', int(now), 'scored', 0,
  'deadline', int(now + deadline_in))
redis.call('HSET', key .. INPUT, 0, 'plan')
local header = header_of(id)
open_entries(id, header, now)
redis.call('ZADD', READY .. CHUNKS, 0, id .. ':0')
redis.call('SADD', BATCHES, id)
local ttl = tonumber(redis.call('HGET', key, 'result_ttl'))
local longest = enter(id, CHUNKS, owner, deadline_in, ttl, now)
-- One that is stopped has so much longer to write.
redis.call('SET', output, id, 'PX', int(longest + MERGE_MS))
if idem ~= '' then
  redis.call('HSET', IDEM .. idem, 'job', id, 'body', body)
  redis.call('PEXPIRE', IDEM .. idem, longest)
end
return { 'created', id }
