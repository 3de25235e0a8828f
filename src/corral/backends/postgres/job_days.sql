-- name: missing_days
-- How many days of the coming week have no partition.
SELECT corral.missing_job_days($1);

-- name: make_days
-- Make the partitions of the coming week, without keeping anybody waiting for long.
SELECT corral.make_job_days($1) FROM set_config('lock_timeout', '1s', true);
