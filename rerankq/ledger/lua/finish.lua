-- finish: a job is cancelled or has failed. See finish() in common.lua for the conditions.
-- ARGV: id, status, problem as JSON ('' for none).
-- Returns 1 if this call ended the job, 0 if it was final or unknown before.
go_on_when_full()
return finish(ARGV[1], ARGV[2], ARGV[3], now_ms()) and 1 or 0
