-- purge: the open jobs of a lane that were accepted before a time are cancelled.
-- Precondition: none. Postcondition: up to about 2,000 entries' worth of them are final; call it
-- again until nothing is left. Delayed jobs have no entries yet, and stay.
-- ARGV: lane, ms before which they were accepted.
-- Returns {jobs cancelled, whether there are more (0/1)}.
go_on_when_full()
local lane, before, now = ARGV[1], '(' .. ARGV[2], now_ms()
local cancelled, dropped = 0, 0
for _, entry in ipairs(redis.call('ZRANGEBYSCORE', PENDING .. lane, '-inf', before, 'LIMIT', 0,
    REAPED_AT_ONCE)) do
  if dropped >= REAPED_AT_ONCE then break end
  -- Of a job with many entries the first one ends it.
  local open = finish(job_and_k(entry), 'cancelled', '', now)
  if open then
    cancelled, dropped = cancelled + 1, dropped + open
  elseif redis.call('ZSCORE', PENDING .. lane, entry) then
    drop_entries({ entry }, lane) -- or one without its job would be met again without end
  end
end
return { cancelled, #redis.call('ZRANGEBYSCORE', PENDING .. lane, '-inf', before, 'LIMIT', 0, 1) }
