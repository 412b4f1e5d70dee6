-- release: this worker hands entries back unscored (drain, a refusal). No loss is counted.
-- Precondition: the owner matches; other entries are left alone.
-- Postcondition: ready again, at the old place, and others are told.
-- ARGV: worker, entry, ...
-- Returns how many were handed back.
go_on_when_full()
local worker, released = ARGV[1], 0
for i = 2, #ARGV do
  local entry = ARGV[i]
  local id, k = job_and_k(entry)
  local header = header_of(id)
  if header and redis.call('HGET', OWNER, entry) == worker then
    make_ready(entry, id, k, header.lane, header)
    released = released + 1
  end
end
if released > 0 then ring(released, now_ms()) end
return released
