-- name: begin
-- A new execution with its first move; one of this ARN stays as it is.
WITH put AS (
    INSERT INTO corral.executions (
        tenant, id, mark, updated_at, status, next_event, redrives, redriven_at, stopped_at, wake_at, outcome, revision,
        arn, name, machine_arn, version_arn, alias_arn, map_run_arn, started_at, facts, input)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 1, $28, $29, $30, $31, $32, $33, $34, $35, $36)
    ON CONFLICT DO NOTHING RETURNING id
)
SELECT corral.execution_write($1, $2, true, $4, $5, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27)
FROM put;

-- name: advance
-- Move an execution, if it stands where the mover believes; the answer says whether it does now.
WITH moved AS (
    UPDATE corral.executions SET
        status = $5, revision = $28 + 1, mark = $3, next_event = $6, redrives = $7, redriven_at = $8, updated_at = $4,
        stopped_at = $9, wake_at = $10, outcome = $11
    WHERE tenant = $1 AND id = $2 AND revision = $28 RETURNING id
), written AS (
    SELECT corral.execution_write(
        $1, $2, false, $4, $5, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27)
    FROM moved
)
SELECT EXISTS (SELECT 1 FROM written)
    OR EXISTS (SELECT 1 FROM corral.executions WHERE tenant = $1 AND id = $2 AND mark = $3);

-- name: get
-- One execution with all it has.
SELECT tenant, id, arn, name, machine_arn, version_arn, alias_arn, map_run_arn, status, facts, revision, next_event, redrives,
    redriven_at, started_at, updated_at, stopped_at, input, outcome
FROM corral.executions WHERE tenant = $1 AND id = $2;

-- name: by_arn
-- The same, by its ARN.
SELECT tenant, id, arn, name, machine_arn, version_arn, alias_arn, map_run_arn, status, facts, revision, next_event, redrives,
    redriven_at, started_at, updated_at, stopped_at, input, outcome
FROM corral.executions WHERE tenant = $1 AND arn = $2;

-- name: load
-- One execution, what of it runs, and what has ended below some frames: all of one moment.
SELECT tenant, id, arn, name, machine_arn, version_arn, alias_arn, map_run_arn, status, facts, revision, next_event, redrives,
    redriven_at, started_at, updated_at, stopped_at, input, outcome,
    ARRAY(
        SELECT ROW(frame.id, frame.parent, frame.done, frame.body) FROM corral.execution_frames AS frame
        WHERE frame.tenant = $1 AND frame.execution_id = $2 AND (NOT frame.done OR frame.parent = ANY ($3::text[])))
FROM corral.executions WHERE tenant = $1 AND id = $2;

-- name: list
-- Executions of a tenant, newest first.
SELECT tenant, id, arn, name, machine_arn, version_arn, alias_arn, map_run_arn, status, facts, revision, next_event, redrives,
    redriven_at, started_at, updated_at, stopped_at
FROM corral.executions
WHERE tenant = $1 AND (started_at, id) < ($2, $3) AND started_at >= $4 AND started_at <= $5
    AND ($6::text[] IS NULL OR status = ANY ($6)) AND ($7::text IS NULL OR machine_arn = $7)
    AND ($8::text IS NULL OR version_arn = $8) AND ($9::text IS NULL OR alias_arn = $9)
    AND ($10::text IS NULL OR map_run_arn = $10)
    AND ($11::text IS NULL OR starts_with(name, $11)) AND ($12::boolean IS NULL OR (redrives > 0) = $12)
ORDER BY started_at DESC, id DESC LIMIT $13;

-- name: list_open
-- Those that run, newest first.
SELECT tenant, id, arn, name, machine_arn, version_arn, alias_arn, map_run_arn, status, facts, revision, next_event, redrives,
    redriven_at, started_at, updated_at, stopped_at
FROM corral.executions
WHERE tenant = $1 AND status = 'RUNNING' AND (started_at, id) < ($2, $3) AND started_at >= $4 AND started_at <= $5
    AND ($6::text[] IS NULL OR status = ANY ($6)) AND ($7::text IS NULL OR machine_arn = $7)
    AND ($8::text IS NULL OR version_arn = $8) AND ($9::text IS NULL OR alias_arn = $9)
    AND ($10::text IS NULL OR map_run_arn = $10)
    AND ($11::text IS NULL OR starts_with(name, $11)) AND ($12::boolean IS NULL OR (redrives > 0) = $12)
ORDER BY started_at DESC, id DESC LIMIT $13;

-- name: list_of_machine
-- Those of one state machine, newest first.
SELECT tenant, id, arn, name, machine_arn, version_arn, alias_arn, map_run_arn, status, facts, revision, next_event, redrives,
    redriven_at, started_at, updated_at, stopped_at
FROM corral.executions
WHERE tenant = $1 AND machine_arn = $7 AND (started_at, id) < ($2, $3) AND started_at >= $4 AND started_at <= $5
    AND ($6::text[] IS NULL OR status = ANY ($6))
    AND ($8::text IS NULL OR version_arn = $8) AND ($9::text IS NULL OR alias_arn = $9)
    AND ($10::text IS NULL OR map_run_arn = $10)
    AND ($11::text IS NULL OR starts_with(name, $11)) AND ($12::boolean IS NULL OR (redrives > 0) = $12)
ORDER BY started_at DESC, id DESC LIMIT $13;

-- name: list_of_map_run
-- The children of one map run, newest first.
SELECT tenant, id, arn, name, machine_arn, version_arn, alias_arn, map_run_arn, status, facts, revision, next_event, redrives,
    redriven_at, started_at, updated_at, stopped_at
FROM corral.executions
WHERE tenant = $1 AND map_run_arn = $10 AND map_run_arn <> '' AND (started_at, id) < ($2, $3) AND started_at >= $4 AND started_at <= $5
    AND ($6::text[] IS NULL OR status = ANY ($6)) AND ($7::text IS NULL OR machine_arn = $7)
    AND ($8::text IS NULL OR version_arn = $8) AND ($9::text IS NULL OR alias_arn = $9)
    AND ($11::text IS NULL OR starts_with(name, $11)) AND ($12::boolean IS NULL OR (redrives > 0) = $12)
ORDER BY started_at DESC, id DESC LIMIT $13;

-- name: open_count
-- How many executions of a tenant, or of all, run, up to a bound.
SELECT count(*) FROM (
    SELECT 1 FROM corral.executions WHERE status = 'RUNNING' AND ($1::text IS NULL OR tenant = $1) LIMIT $2) AS few;

-- name: waiting
-- How many questions wait for an answer, up to a bound.
SELECT count(*) FROM (
    SELECT 1 FROM corral.workflow_tasks WHERE kind = 'approval' AND state = 'new' LIMIT $1) AS few;

-- name: counts
-- The children of one map run, by how they stand.
SELECT status, count(*) FROM corral.executions WHERE tenant = $1 AND map_run_arn = $2 AND map_run_arn <> '' GROUP BY status;

-- name: events
-- The rows that hold some events.
SELECT first, last, body FROM corral.execution_events
WHERE tenant = $1 AND execution_id = $2 AND last >= $3 AND first <= $4 ORDER BY first;

-- name: now
-- The database's clock.
SELECT extract(epoch FROM clock_timestamp())::double precision;

-- name: next_due
-- When the next execution is to be woken.
SELECT wake_at FROM corral.executions WHERE wake_at IS NOT NULL ORDER BY wake_at LIMIT 1;

-- name: take_due
-- Executions whose time has come; nobody else gets them for a while.
UPDATE corral.executions AS execution SET wake_at = $1 + $3::double precision
FROM (
    SELECT tenant, id FROM corral.executions WHERE wake_at IS NOT NULL AND wake_at <= $1
    ORDER BY wake_at LIMIT $2 FOR UPDATE SKIP LOCKED
) AS due
WHERE execution.tenant = due.tenant AND execution.id = due.id
RETURNING execution.tenant, execution.id;

-- name: task
-- One task.
SELECT tenant, token, execution_id, frame, kind, resource, body, state, worker, answer, created_at, closed_at
FROM corral.workflow_tasks WHERE token = $1 AND tenant = $2;

-- name: work
-- One task that is not over, and its execution.
SELECT task.tenant, token, execution_id, frame, kind, resource, body, state, worker, answer, created_at, closed_at,
    execution.tenant, id, arn, name, machine_arn, version_arn, alias_arn, map_run_arn, status, facts, revision, next_event,
    redrives, redriven_at, started_at, updated_at, stopped_at, input, outcome
FROM corral.workflow_tasks AS task
JOIN corral.executions AS execution ON execution.tenant = task.tenant AND execution.id = task.execution_id
WHERE token = $1 AND task.tenant = $2 AND state <> 'closed';

-- name: approvals
-- Questions, newest first.
SELECT tenant, token, execution_id, frame, kind, resource, body, state, worker, answer, created_at, closed_at
FROM corral.workflow_tasks
WHERE tenant = $1 AND kind = 'approval' AND kind = $6 AND (created_at, token) < ($2, $3)
    AND ($4::text[] IS NULL OR state = ANY ($4)) AND ($7::text IS NULL OR execution_id = $7)
ORDER BY created_at DESC, token DESC LIMIT $5;

-- name: tasks_of_execution
-- Tasks of one execution, newest first.
SELECT tenant, token, execution_id, frame, kind, resource, body, state, worker, answer, created_at, closed_at
FROM corral.workflow_tasks
WHERE tenant = $1 AND execution_id = $7 AND kind = $6 AND (created_at, token) < ($2, $3)
    AND ($4::text[] IS NULL OR state = ANY ($4))
ORDER BY created_at DESC, token DESC LIMIT $5;

-- name: tasks
-- Tasks of a tenant, newest first.
SELECT tenant, token, execution_id, frame, kind, resource, body, state, worker, answer, created_at, closed_at
FROM corral.workflow_tasks
WHERE tenant = $1 AND kind = $6 AND (created_at, token) < ($2, $3)
    AND ($4::text[] IS NULL OR state = ANY ($4)) AND ($7::text IS NULL OR execution_id = $7)
ORDER BY created_at DESC, token DESC LIMIT $5;

-- name: unhanded
-- Tasks that were forgotten by whoever wrote them down.
SELECT tenant, token, execution_id, frame, kind, resource, body, state, worker, answer, created_at, closed_at
FROM corral.workflow_tasks
WHERE state = 'new' AND kind IN ('job', 'map', 'answer') AND created_at < $1 ORDER BY created_at LIMIT $2;

-- name: handed
-- These were handed on.
UPDATE corral.workflow_tasks SET state = 'dispatched' WHERE token = ANY ($1) AND state = 'new';

-- name: drop
-- News that was told.
DELETE FROM corral.workflow_tasks WHERE token = ANY ($1) AND kind = 'answer';

-- name: has_to_fetch
-- Whether there is a task of an activity.
SELECT 1 FROM corral.workflow_tasks WHERE tenant = $1 AND resource = $2 AND state = 'new' AND kind = 'activity' LIMIT 1;

-- name: take
-- Give the oldest task of an activity to a worker.
UPDATE corral.workflow_tasks SET state = 'taken', worker = $3
WHERE token = (
    SELECT token FROM corral.workflow_tasks
    WHERE tenant = $1 AND resource = $2 AND state = 'new' AND kind = 'activity'
    ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING tenant, token, execution_id, frame, kind, resource, body, state, worker, answer, created_at, closed_at;

-- name: stale
-- Executions that ended long ago.
SELECT tenant, id FROM corral.executions
WHERE stopped_at IS NOT NULL AND stopped_at < $1 ORDER BY stopped_at LIMIT $2;

-- name: remove
-- Executions with all they left behind.
WITH gone AS (
    DELETE FROM corral.executions AS execution USING unnest($1::text[], $2::text[]) AS one(tenant, id)
    WHERE execution.tenant = one.tenant AND execution.id = one.id RETURNING 1
)
SELECT count(*) FROM gone;
