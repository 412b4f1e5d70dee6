-- part: a chunk is scored and its part is in storage.
-- Precondition: none but that the entry is still open: a late holder's part counts if it is first.
-- Postcondition: the part is among the batch's, the entry in no index, the batch has one less to go
-- and another chunk open; after the last it is merged. With more bad lines than it bears it has
-- failed. A replay answers `gone` and counts nothing twice.
-- ARGV: entry, part, pairs, tokens, truncated, records, bad lines, most bad lines ('' any),
--       problem of too many, model id, model revision, then code and count of the lines that are lost
--       by our fault.
-- Returns stored | gone.
go_on_when_full()
local entry = ARGV[1]
local id, k = job_and_k(entry)
local key, header, now = JOB .. id, header_of(id), now_ms()
if not header or FINAL[header.status] then return 'gone' end
if not redis.call('ZSCORE', PENDING .. CHUNKS, entry) then return 'gone' end

redis.call('HDEL', key .. INPUT, k)
redis.call('HSET', key .. OUTPUT, k, ARGV[2])
drop_entries({ entry }, CHUNKS)
release_tokens(CHUNKS, header.entry_tokens)
for i, field in ipairs({ 'scored', 'tokens', 'truncated', 'records', 'bad' }) do
  redis.call('HINCRBY', key, field, ARGV[i + 2])
end
note_model(key, ARGV[10], ARGV[11])
for i = 12, #ARGV, 2 do redis.call('HINCRBY', LOST, ARGV[i], ARGV[i + 1]) end
if ARGV[8] ~= '' and tonumber(redis.call('HGET', key, 'bad')) > tonumber(ARGV[8]) then
  stop_batch(id, 'failed', ARGV[9], now)
  return 'stored'
end
feed(id, header, now)
if redis.call('HINCRBY', key, 'left', -1) == 1 then open_merge(id, header, now) end
return 'stored'
