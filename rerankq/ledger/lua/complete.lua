-- complete: an entry is scored.
-- Precondition: none but that the entry is still open: a late holder's work counts if it is first.
-- Postcondition: the input is gone and the output stored, the entry is in no index, the job has
-- one less to go; at zero it has succeeded. A replay answers `gone` and counts nothing twice.
-- ARGV: entry, output, documents, tokens, truncated, model id, model revision.
-- Returns stored | due (stored, and the result of its public task can be published) | gone.
go_on_when_full()
local entry, output = ARGV[1], ARGV[2]
local id, k = job_and_k(entry)
local key, header = JOB .. id, header_of(id)
if not header or FINAL[header.status] then return 'gone' end
if not redis.call('ZSCORE', PENDING .. header.lane, entry) then return 'gone' end

redis.call('HDEL', key .. INPUT, k)
redis.call('HSET', key .. OUTPUT, k, output)
drop_entries({ entry }, header.lane)
release_tokens(header.lane, header.entry_tokens)
redis.call('HINCRBY', key, 'scored', ARGV[3])
redis.call('HINCRBY', key, 'tokens', ARGV[4])
redis.call('HINCRBY', key, 'truncated', ARGV[5])
note_model(key, ARGV[6], ARGV[7])
if redis.call('HINCRBY', key, 'left', -1) > 0 then return 'stored' end
finish(id, 'succeeded', '', now_ms())
return redis.call('HEXISTS', key, 'task') == 1 and 'due' or 'stored'
