-- name: save
-- Create, or replace.
INSERT INTO corral.job_schedules (tenant, name, paused, next_at, last_at, rule) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (tenant, name) DO UPDATE SET
    paused = excluded.paused, next_at = excluded.next_at, last_at = excluded.last_at, rule = excluded.rule, fired = NULL;

-- name: remove
-- Remove.
DELETE FROM corral.job_schedules WHERE tenant = $1 AND name = $2 RETURNING 1;

-- name: schedules
-- All of a tenant.
SELECT tenant, name, paused, next_at, last_at, rule FROM corral.job_schedules WHERE tenant = $1 ORDER BY name;

-- name: due
-- Those whose time has come.
SELECT tenant, name, paused, next_at, last_at, rule FROM corral.job_schedules
WHERE next_at <= corral.now() AND NOT paused ORDER BY next_at LIMIT $1;

-- name: next_due
-- In how many seconds the next one comes that is not due yet.
SELECT min(next_at) - corral.now() FROM corral.job_schedules
WHERE next_at IS NOT NULL AND NOT paused AND next_at > corral.now();

-- name: fire
-- Move on and enqueue, if nobody did since.
SELECT corral.fire_schedule($1, $2, $3, $4, $5, $6,
    $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29);
