-- name: save
-- Create a schedule, or replace it.
INSERT INTO job_schedules (tenant, name, cron, timezone, catch_up, paused, next_at, last_at, job)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
ON CONFLICT (tenant, name) DO UPDATE SET
    cron = excluded.cron, timezone = excluded.timezone, catch_up = excluded.catch_up, paused = excluded.paused,
    next_at = excluded.next_at, last_at = excluded.last_at, job = excluded.job;

-- name: remove
-- Remove a schedule.
DELETE FROM job_schedules WHERE tenant = ?1 AND name = ?2;

-- name: list
-- A tenant's schedules, by name.
SELECT tenant, name, cron, timezone, catch_up, paused, next_at, last_at, job
FROM job_schedules WHERE tenant = ?1 ORDER BY name;

-- name: due
-- Schedules whose time has come.
SELECT tenant, name, cron, timezone, catch_up, paused, next_at, last_at, job
FROM job_schedules INDEXED BY job_schedules_due
WHERE NOT paused AND next_at IS NOT NULL AND next_at <= ?1 ORDER BY next_at LIMIT ?2;

-- name: next
-- When the next schedule is due that is not due now.
SELECT next_at FROM job_schedules INDEXED BY job_schedules_due
WHERE NOT paused AND next_at IS NOT NULL AND next_at > ?1 ORDER BY next_at LIMIT 1;

-- name: is_unchanged
-- Is a schedule what was read.
SELECT 1 FROM job_schedules
WHERE tenant = ?1 AND name = ?2 AND cron = ?3 AND timezone = ?4 AND catch_up = ?5 AND paused = ?6 AND next_at IS ?7
  AND last_at IS ?8 AND job = ?9;

-- name: move_on
-- A schedule has fired.
UPDATE job_schedules SET last_at = next_at, next_at = ?1 WHERE tenant = ?2 AND name = ?3;
