-- name: begin
-- Keep a new map run and what it has to do.
WITH begun AS (
    INSERT INTO corral.map_runs (
        tenant, id, arn, execution_id, phase, status, max_concurrency, tolerated_count, tolerated_percentage, started_at, look_at
    ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING RETURNING tenant, id
)
INSERT INTO corral.map_run_work (tenant, id, work) SELECT tenant, id, $12 FROM begun;

-- name: get
-- One map run.
SELECT run.tenant, run.id, run.arn, run.execution_id, run.phase, run.status, run.max_concurrency, run.tolerated_count, run.tolerated_percentage, run.total,
    run.items_total, run.next_index, run.running, run.again, run.succeeded, run.failed, run.timed_out, run.aborted, run.items_succeeded, run.items_failed,
    run.items_timed_out, run.items_aborted, run.error, run.cause, run.started_at, run.stopped_at, run.redrives, run.redriven_at, run.look_at, work.work
FROM corral.map_runs AS run JOIN corral.map_run_work AS work ON work.tenant = run.tenant AND work.id = run.id
WHERE run.tenant = $1 AND run.id = $2;

-- name: of_execution
-- The map runs of an execution, oldest first.
SELECT tenant, id, arn, execution_id, phase, status, max_concurrency, tolerated_count, tolerated_percentage, total,
    items_total, next_index, running, again, succeeded, failed, timed_out, aborted, items_succeeded, items_failed,
    items_timed_out, items_aborted, error, cause, started_at, stopped_at, redrives, redriven_at, look_at, ''::bytea AS work
FROM corral.map_runs WHERE tenant = $1 AND execution_id = $2 ORDER BY started_at, id;

-- name: hold
-- Take a map run for a while, or keep it longer.
UPDATE corral.map_runs SET holder = $4, held_until = $6, look_at = $6
WHERE tenant = $1 AND id = $2 AND phase = $3 AND (holder = $4 OR held_until <= $5) RETURNING id;

-- name: filled
-- The items are read.
UPDATE corral.map_runs SET phase = 'running', total = $4, items_total = $5, holder = '', held_until = 0, look_at = $6
WHERE tenant = $1 AND id = $2 AND phase = 'reading' AND holder = $3 RETURNING id;

-- name: take
-- Have the next children begin.
SELECT o_index, o_attempt FROM corral.map_take($1, $2, $3, $4, $5) ORDER BY o_index;

-- name: settle
-- Count children that ended.
SELECT corral.map_settle($1, $2, $3, $4, $5, $6, $7);

-- name: children
-- Children that began, by number.
SELECT number, state, attempt, items, changed_at, record FROM corral.map_children
WHERE tenant = $1 AND run_id = $2 AND number > $3 AND ($4::text[] IS NULL OR state = ANY ($4)) ORDER BY number LIMIT $5;

-- name: end
-- Settle how it ends.
UPDATE corral.map_runs SET phase = 'ending', status = $3, error = $4, cause = $5, stopped_at = $6, look_at = $6,
    holder = '', held_until = 0
WHERE tenant = $1 AND id = $2 AND phase IN ('reading', 'running');

-- name: over
-- Its end is done with.
UPDATE corral.map_runs SET phase = 'over', status = $3, error = $4, cause = $5, holder = '', held_until = 0,
    stopped_at = coalesce(stopped_at, $6)
WHERE tenant = $1 AND id = $2 AND phase = 'ending';

-- name: update
-- Change how a map run goes on.
UPDATE corral.map_runs SET max_concurrency = coalesce($3, max_concurrency), tolerated_count = coalesce($4, tolerated_count),
    tolerated_percentage = coalesce($5, tolerated_percentage)
WHERE tenant = $1 AND id = $2 AND phase IN ('reading', 'running') RETURNING id;

-- name: redrive
-- Have what did not succeed run again.
SELECT corral.map_redrive($1, $2, $3);

-- name: due
-- Map runs somebody has to look at, which nobody else gets for a while.
WITH due AS (
    SELECT tenant, id FROM corral.map_runs WHERE phase <> 'over' AND look_at <= $1 ORDER BY look_at LIMIT $2 FOR UPDATE SKIP LOCKED
)
UPDATE corral.map_runs AS run SET look_at = $3 FROM due WHERE run.tenant = due.tenant AND run.id = due.id
RETURNING run.tenant, run.id;

-- name: next_due
-- When the next one is due.
SELECT min(look_at) FROM corral.map_runs WHERE phase <> 'over';

-- name: stale
-- Map runs that were over before a time, oldest first.
SELECT tenant, id FROM corral.map_runs WHERE phase = 'over' AND stopped_at < $1 ORDER BY stopped_at LIMIT $2;

-- name: remove
-- Remove a map run.
DELETE FROM corral.map_runs WHERE tenant = $1 AND id = $2;
