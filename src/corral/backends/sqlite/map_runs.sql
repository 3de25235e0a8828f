-- name: begin
-- Keep a new map run.
INSERT INTO map_runs (
    tenant, id, arn, execution_id, phase, status, max_concurrency, tolerated_count, tolerated_percentage, started_at, look_at
) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT DO NOTHING;

-- name: keep_work
-- Keep what a map run has to do.
INSERT INTO map_run_work (tenant, id, work) VALUES (?1, ?2, ?3);

-- name: get
-- One map run.
SELECT run.tenant, run.id, run.arn, run.execution_id, run.phase, run.status, run.max_concurrency, run.tolerated_count, run.tolerated_percentage, run.total,
    run.items_total, run.next_index, run.running, run.again, run.succeeded, run.failed, run.timed_out, run.aborted, run.items_succeeded, run.items_failed,
    run.items_timed_out, run.items_aborted, run.error, run.cause, run.started_at, run.stopped_at, run.redrives, run.redriven_at, run.look_at, work.work
FROM map_runs AS run JOIN map_run_work AS work ON work.tenant = run.tenant AND work.id = run.id
WHERE run.tenant = ?1 AND run.id = ?2;

-- name: of_execution
-- The map runs of an execution, oldest first.
SELECT tenant, id, arn, execution_id, phase, status, max_concurrency, tolerated_count, tolerated_percentage, total,
    items_total, next_index, running, again, succeeded, failed, timed_out, aborted, items_succeeded, items_failed,
    items_timed_out, items_aborted, error, cause, started_at, stopped_at, redrives, redriven_at, look_at, x'' AS work
FROM map_runs WHERE tenant = ?1 AND execution_id = ?2 ORDER BY started_at, id;

-- name: hold
-- Take a map run for a while, or keep it longer.
UPDATE map_runs SET holder = :token, held_until = :until, look_at = :until
WHERE tenant = :tenant AND id = :id AND phase = :phase AND (holder = :token OR held_until <= :now);

-- name: filled
-- The items are read.
UPDATE map_runs SET phase = 'running', total = :total, items_total = :items, holder = '', held_until = 0, look_at = :look_at
WHERE tenant = :tenant AND id = :id AND phase = 'reading' AND holder = :token;

-- name: again
-- Children that are to run once more.
SELECT number, state, attempt, items, changed_at, NULL AS record FROM map_children
WHERE tenant = ?1 AND run_id = ?2 AND state = 'again' ORDER BY number LIMIT ?3;

-- name: begin_again
-- Such a child runs.
UPDATE map_children SET state = 'running', attempt = attempt + 1, changed_at = ?4, record = NULL
WHERE tenant = ?1 AND run_id = ?2 AND number = ?3;

-- name: begin_new
-- A child runs for the first time.
INSERT INTO map_children (tenant, run_id, number, state, changed_at) VALUES (?1, ?2, ?3, 'running', ?4);

-- name: took
-- Count those that begin.
UPDATE map_runs SET running = running + :again + :new, again = again - :again, next_index = next_index + :new, look_at = :look_at
WHERE tenant = :tenant AND id = :id;

-- name: settle
-- A child that ran has ended.
UPDATE map_children SET state = :state, items = :items, record = :record, changed_at = :now
WHERE tenant = :tenant AND run_id = :id AND number = :number AND state = 'running';

-- name: settled
-- Count those that ended.
UPDATE map_runs SET running = running - :ended,
    succeeded = succeeded + :succeeded, failed = failed + :failed, timed_out = timed_out + :timed_out, aborted = aborted + :aborted,
    items_succeeded = items_succeeded + :items_succeeded, items_failed = items_failed + :items_failed,
    items_timed_out = items_timed_out + :items_timed_out, items_aborted = items_aborted + :items_aborted
WHERE tenant = :tenant AND id = :id;

-- name: children
-- Children that began, by number.
SELECT number, state, attempt, items, changed_at, record FROM map_children
WHERE tenant = :tenant AND run_id = :id AND number > :after
  AND (:states IS NULL OR instr(:states, ' ' || state || ' ') > 0)
ORDER BY number LIMIT :limit;

-- name: end
-- Settle how it ends.
UPDATE map_runs SET phase = 'ending', status = :status, error = :error, cause = :cause, stopped_at = :now, look_at = :now,
    holder = '', held_until = 0
WHERE tenant = :tenant AND id = :id AND phase IN ('reading', 'running');

-- name: over
-- Its end is done with.
UPDATE map_runs SET phase = 'over', status = :status, error = :error, cause = :cause, holder = '', held_until = 0,
    stopped_at = coalesce(stopped_at, :now)
WHERE tenant = :tenant AND id = :id AND phase = 'ending';

-- name: update
-- Change how a map run goes on.
UPDATE map_runs SET max_concurrency = coalesce(:max_concurrency, max_concurrency),
    tolerated_count = coalesce(:tolerated_count, tolerated_count),
    tolerated_percentage = coalesce(:tolerated_percentage, tolerated_percentage)
WHERE tenant = :tenant AND id = :id AND phase IN ('reading', 'running');

-- name: fail_forgotten
-- Children that did not succeed are to run again.
UPDATE map_children SET state = 'again', record = NULL, changed_at = ?3
WHERE tenant = ?1 AND run_id = ?2 AND state IN ('failed', 'timed_out', 'aborted');

-- name: redrive
-- A map run that did not succeed goes on; one whose items were never read reads them.
UPDATE map_runs SET phase = CASE WHEN total = 0 THEN 'reading' ELSE 'running' END, status = 'RUNNING', again = :again,
    failed = 0, timed_out = 0, aborted = 0, items_failed = 0, items_timed_out = 0, items_aborted = 0,
    error = '', cause = '', stopped_at = NULL, redrives = redrives + 1, redriven_at = :now, look_at = :now
WHERE tenant = :tenant AND id = :id AND phase = 'over' AND status IN ('FAILED', 'ABORTED');

-- name: due
-- Map runs somebody has to look at.
SELECT tenant, id FROM map_runs WHERE phase <> 'over' AND look_at <= ?1 ORDER BY look_at LIMIT ?2;

-- name: looked
-- Nobody else need look at it for a while.
UPDATE map_runs SET look_at = ?3 WHERE tenant = ?1 AND id = ?2;

-- name: next_due
-- When the next one is due.
SELECT min(look_at) FROM map_runs WHERE phase <> 'over';

-- name: stale
-- Map runs that were over before a time, oldest first.
SELECT tenant, id FROM map_runs WHERE phase = 'over' AND stopped_at < ?1 ORDER BY stopped_at LIMIT ?2;

-- name: remove
-- Remove a map run.
DELETE FROM map_runs WHERE tenant = ?1 AND id = ?2;
