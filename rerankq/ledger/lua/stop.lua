-- stop: a batch is cancelled, or has failed. See stop_batch() in common.lua for the conditions.
-- ARGV: id, status, problem as JSON ('' for none), at once (0/1): without merging what was scored.
-- Returns 1 if this call stopped it, 0 otherwise.
go_on_when_full()
local id, now = ARGV[1], now_ms()
if ARGV[4] == '0' then return stop_batch(id, ARGV[2], ARGV[3], now) end
return finish(id, ARGV[2], ARGV[3], now) and 1 or 0
