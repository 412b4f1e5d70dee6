-- hold: this worker still has these entries; with a mark, they are about to be put on its device.
-- Precondition: the owner matches and the job is running; entries for which that fails are gone
-- (cancelled, expired, given to another) and have to be dropped from the batch.
-- Postcondition: the other leases last a full term from now; marked ones are known to be on the
-- device, written before the launch, so that a crash can be blamed on them.
-- ARGV: worker, lease ms, mark (0/1), entry, ...
-- Returns the entries that are gone.
go_on_when_full()
local worker, lease, mark = ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1'
local until_ms, gone = int(now_ms() + lease), {}
for i = 4, #ARGV do
  local entry = ARGV[i]
  local id = job_and_k(entry)
  if redis.call('HGET', OWNER, entry) == worker and
      redis.call('HGET', JOB .. id, 'status') == 'running' then
    redis.call('ZADD', LEASE, until_ms, entry)
    if mark then redis.call('HSET', DEVICE, entry, worker) end
  else
    gone[#gone + 1] = entry
  end
end
return gone
