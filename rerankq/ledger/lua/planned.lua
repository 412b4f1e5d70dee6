-- planned: chunks of a batch are known, some of them or the last.
-- Precondition: entry 0 is open. Several workers that plan the same batch put down the same chunks,
-- since the first call, with none, agrees on their size.
-- Postcondition: the plan has these chunks, each once; with the last, the batch runs: entry 0 is
-- gone, the first chunks are open, or if there is none the batch is merged.
-- ARGV: entry, bytes of a chunk, chunks put down before, last (0/1), tokens and stride (ms) of a
--       chunk, chunk, ...
-- Returns {how many chunks the plan has, or -1: it is no longer to be planned, bytes of a chunk}.
go_on_when_full()
local entry, before, last = ARGV[1], tonumber(ARGV[3]), ARGV[4] == '1'
local id = job_and_k(entry)
local key, header, now = JOB .. id, header_of(id), now_ms()
if not header or FINAL[header.status] or not redis.call('ZSCORE', PENDING .. CHUNKS, entry) then
  return { -1, 0 }
end
redis.call('HSETNX', key, 'cut', ARGV[2])
local cut = tonumber(redis.call('HGET', key, 'cut'))
local known = redis.call('LLEN', key .. PLAN)
if known == before and #ARGV > 6 then known = redis.call('RPUSH', key .. PLAN, unpack(ARGV, 7)) end
if not last or known ~= before + #ARGV - 6 then return { known, cut } end
redis.call('HDEL', key .. INPUT, 0)
drop_entries({ entry }, CHUNKS)
release_tokens(CHUNKS, header.entry_tokens)
redis.call('HSET', key, 'chunks', known, 'left', known + 1, 'planned', int(now), 'fed', 0,
  'entry_tokens', ARGV[5], 'stride', ARGV[6])
header = header_of(id)
feed(id, header, now)
if known == 0 then open_merge(id, header, now) end
return { known, cut }
