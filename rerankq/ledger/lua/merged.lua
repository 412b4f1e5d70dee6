-- merged: a batch's output is published.
-- Precondition: the entry is open.
-- Postcondition: the batch is final: succeeded, or what it was stopped as. A replay answers `gone`.
-- ARGV: entry, output written (0/1), bad lines written (0/1).
-- Returns stored | gone.
go_on_when_full()
local id = job_and_k(ARGV[1])
local header = header_of(id)
if not header or not redis.call('ZSCORE', PENDING .. CHUNKS, ARGV[1]) then return 'gone' end
local ending = redis.call('HGET', JOB .. id, 'ending')
redis.call('HSET', JOB .. id, 'left', 0, 'output_written', ARGV[2], 'errors_written', ARGV[3])
finish(id, ending or 'succeeded', redis.call('HGET', JOB .. id, 'error') or '', now_ms())
return 'stored'
