-- name: begin
-- A new execution; one of this ARN stays as it is.
INSERT INTO executions (
    tenant, id, arn, name, machine_arn, version_arn, alias_arn, map_run_arn, status, revision, mark, next_event, redrives,
    redriven_at, started_at, updated_at, stopped_at, wake_at, facts, input, outcome)
VALUES (
    :tenant, :id, :arn, :name, :machine_arn, :version_arn, :alias_arn, :map_run_arn, :status, 1, :mark, :next_event, :redrives,
    :redriven_at, :started_at, :at, :stopped_at, :wake_at, :facts, :input, :outcome)
ON CONFLICT DO NOTHING;

-- name: advance
-- Move an execution, if it stands where the mover believes.
UPDATE executions SET
    status = :status, revision = :revision + 1, mark = :mark, next_event = :next_event, redrives = :redrives,
    redriven_at = :redriven_at, updated_at = :at, stopped_at = :stopped_at, wake_at = :wake_at, outcome = :outcome
WHERE tenant = :tenant AND id = :id AND revision = :revision;

-- name: was_last
-- Whether a move was the last one written.
SELECT 1 FROM executions WHERE tenant = ? AND id = ? AND mark = ?;

-- name: put_frame
-- A frame that is new or has changed.
INSERT INTO execution_frames (tenant, execution_id, id, parent, done, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT DO UPDATE SET done = excluded.done, body = excluded.body;

-- name: remove_frames
-- Frames that are over, and all below them.
WITH RECURSIVE gone (id) AS (
    SELECT value FROM json_each(:ids)
    UNION
    SELECT frame.id FROM gone CROSS JOIN execution_frames AS frame
        ON frame.tenant = :tenant AND frame.execution_id = :id AND frame.parent = gone.id
)
DELETE FROM execution_frames WHERE tenant = :tenant AND execution_id = :id AND id IN (SELECT id FROM gone);

-- name: remove_all_frames
-- The frames of an execution that needs none any more.
DELETE FROM execution_frames WHERE tenant = ? AND execution_id = ?;

-- name: put_events
-- Events that happened together.
INSERT INTO execution_events (tenant, execution_id, first, last, body) VALUES (?, ?, ?, ?, ?);

-- name: open_task
-- A task that somebody waits for.
INSERT INTO workflow_tasks (
    tenant, token, execution_id, frame, kind, resource, state, worker, body, answer, created_at, closed_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'new', '', ?7, NULL, ?8, NULL)
ON CONFLICT DO NOTHING;

-- name: end_task
-- A task that is over and leaves nothing.
DELETE FROM workflow_tasks WHERE token = ?1 AND tenant = ?2 AND execution_id = ?3 AND kind <> 'approval';

-- name: close_task
-- A question that nobody need answer any more.
UPDATE workflow_tasks SET state = 'closed', answer = ?4, closed_at = ?5
WHERE token = ?1 AND tenant = ?2 AND execution_id = ?3 AND kind = 'approval' AND state <> 'closed';

-- name: end_tasks
-- All tasks of an execution.
DELETE FROM workflow_tasks WHERE tenant = ?1 AND execution_id = ?2 AND kind <> 'approval';

-- name: close_tasks
-- All questions of an execution.
UPDATE workflow_tasks SET state = 'closed', closed_at = ?3
WHERE tenant = ?1 AND execution_id = ?2 AND kind = 'approval' AND state <> 'closed';

-- name: submit_task
-- The call was made: what comes is the callback.
UPDATE workflow_tasks SET kind = 'callback' WHERE token = ?1 AND tenant = ?2 AND execution_id = ?3 AND kind = 'job';

-- name: get
-- One execution with all it has.
SELECT tenant, id, arn, name, machine_arn, version_arn, alias_arn, map_run_arn, status, facts, revision, next_event, redrives,
    redriven_at, started_at, updated_at, stopped_at, input, outcome
FROM executions WHERE tenant = ? AND id = ?;

-- name: by_arn
-- The same, by its ARN.
SELECT tenant, id, arn, name, machine_arn, version_arn, alias_arn, map_run_arn, status, facts, revision, next_event, redrives,
    redriven_at, started_at, updated_at, stopped_at, input, outcome
FROM executions WHERE tenant = ? AND arn = ?;

-- name: frames
-- What of an execution runs.
SELECT id, parent, done, body FROM execution_frames WHERE tenant = ? AND execution_id = ? AND NOT done;

-- name: done_below
-- What has ended below some frames.
SELECT id, parent, done, body FROM execution_frames
WHERE tenant = ? AND execution_id = ? AND done AND parent IN (SELECT value FROM json_each(?));

-- name: list
-- Executions of a tenant, newest first.
SELECT tenant, id, arn, name, machine_arn, version_arn, alias_arn, map_run_arn, status, facts, revision, next_event, redrives,
    redriven_at, started_at, updated_at, stopped_at
FROM executions INDEXED BY executions_by_time
WHERE tenant = :tenant AND (started_at, id) < (:before_at, :before_id) AND started_at >= :since AND started_at <= :until
    AND (:statuses IS NULL OR status IN (SELECT value FROM json_each(:statuses)))
    AND (:version_arn IS NULL OR version_arn = :version_arn) AND (:alias_arn IS NULL OR alias_arn = :alias_arn)
    AND (:name IS NULL OR substr(name, 1, length(:name)) = :name)
    AND (:redriven IS NULL OR (redrives > 0) = :redriven)
ORDER BY started_at DESC, id DESC LIMIT :limit;

-- name: list_open
-- Those that run, newest first.
SELECT tenant, id, arn, name, machine_arn, version_arn, alias_arn, map_run_arn, status, facts, revision, next_event, redrives,
    redriven_at, started_at, updated_at, stopped_at
FROM executions INDEXED BY executions_open
WHERE tenant = :tenant AND status = 'RUNNING' AND (started_at, id) < (:before_at, :before_id) AND started_at >= :since
    AND started_at <= :until
    AND (:machine_arn IS NULL OR machine_arn = :machine_arn) AND (:map_run_arn IS NULL OR map_run_arn = :map_run_arn)
    AND (:version_arn IS NULL OR version_arn = :version_arn) AND (:alias_arn IS NULL OR alias_arn = :alias_arn)
    AND (:name IS NULL OR substr(name, 1, length(:name)) = :name)
    AND (:redriven IS NULL OR (redrives > 0) = :redriven)
ORDER BY started_at DESC, id DESC LIMIT :limit;

-- name: list_of_machine
-- Those of one state machine, newest first.
SELECT tenant, id, arn, name, machine_arn, version_arn, alias_arn, map_run_arn, status, facts, revision, next_event, redrives,
    redriven_at, started_at, updated_at, stopped_at
FROM executions INDEXED BY executions_by_machine
WHERE tenant = :tenant AND machine_arn = :machine_arn AND (started_at, id) < (:before_at, :before_id)
    AND started_at >= :since AND started_at <= :until
    AND (:statuses IS NULL OR status IN (SELECT value FROM json_each(:statuses)))
    AND (:map_run_arn IS NULL OR map_run_arn = :map_run_arn)
    AND (:version_arn IS NULL OR version_arn = :version_arn) AND (:alias_arn IS NULL OR alias_arn = :alias_arn)
    AND (:name IS NULL OR substr(name, 1, length(:name)) = :name)
    AND (:redriven IS NULL OR (redrives > 0) = :redriven)
ORDER BY started_at DESC, id DESC LIMIT :limit;

-- name: list_of_map_run
-- The children of one map run, newest first.
SELECT tenant, id, arn, name, machine_arn, version_arn, alias_arn, map_run_arn, status, facts, revision, next_event, redrives,
    redriven_at, started_at, updated_at, stopped_at
FROM executions INDEXED BY executions_by_map_run
WHERE tenant = :tenant AND map_run_arn = :map_run_arn AND map_run_arn <> '' AND (started_at, id) < (:before_at, :before_id)
    AND started_at >= :since AND started_at <= :until
    AND (:statuses IS NULL OR status IN (SELECT value FROM json_each(:statuses)))
    AND (:name IS NULL OR substr(name, 1, length(:name)) = :name)
    AND (:redriven IS NULL OR (redrives > 0) = :redriven)
ORDER BY started_at DESC, id DESC LIMIT :limit;

-- name: open_of_tenant
-- How many executions of a tenant run, up to a bound.
SELECT count(*) FROM (
    SELECT 1 FROM executions INDEXED BY executions_open WHERE tenant = ? AND status = 'RUNNING' LIMIT ?);

-- name: open_of_all
-- How many executions run, up to a bound.
SELECT count(*) FROM (SELECT 1 FROM executions INDEXED BY executions_open WHERE status = 'RUNNING' LIMIT ?);

-- name: waiting
-- How many questions wait for an answer, up to a bound.
SELECT count(*) FROM (
    SELECT 1 FROM workflow_tasks INDEXED BY workflow_tasks_asked WHERE kind = 'approval' AND state = 'new' LIMIT ?);

-- name: counts
-- The children of one map run, by how they stand.
SELECT status, count(*) FROM executions INDEXED BY executions_by_map_run
WHERE tenant = ?1 AND map_run_arn = ?2 AND map_run_arn <> '' GROUP BY status;

-- name: events
-- The rows that hold some events.
SELECT first, last, body FROM execution_events
WHERE tenant = ? AND execution_id = ? AND last >= ? AND first <= ? ORDER BY first;

-- name: next_due
-- When the next execution is to be woken.
SELECT wake_at FROM executions INDEXED BY executions_due WHERE wake_at IS NOT NULL ORDER BY wake_at LIMIT 1;

-- name: take_due
-- Executions whose time has come; nobody else gets them for a while.
UPDATE executions SET wake_at = :now + :hold_s
WHERE rowid IN (
    SELECT rowid FROM executions INDEXED BY executions_due
    WHERE wake_at IS NOT NULL AND wake_at <= :now ORDER BY wake_at LIMIT :limit)
RETURNING tenant, id;

-- name: task
-- One task.
SELECT tenant, token, execution_id, frame, kind, resource, body, state, worker, answer, created_at, closed_at
FROM workflow_tasks WHERE token = ? AND tenant = ?;

-- name: approvals
-- Questions, newest first.
SELECT tenant, token, execution_id, frame, kind, resource, body, state, worker, answer, created_at, closed_at
FROM workflow_tasks INDEXED BY workflow_tasks_by_kind
WHERE tenant = :tenant AND kind = 'approval' AND (created_at, token) < (:before_at, :before_id)
    AND (:states IS NULL OR state IN (SELECT value FROM json_each(:states)))
ORDER BY created_at DESC, token DESC LIMIT :limit;

-- name: tasks_of_execution
-- Tasks of one execution, newest first.
SELECT tenant, token, execution_id, frame, kind, resource, body, state, worker, answer, created_at, closed_at
FROM workflow_tasks INDEXED BY workflow_tasks_by_execution
WHERE tenant = :tenant AND execution_id = :execution_id AND kind = :kind AND (created_at, token) < (:before_at, :before_id)
    AND (:states IS NULL OR state IN (SELECT value FROM json_each(:states)))
ORDER BY created_at DESC, token DESC LIMIT :limit;

-- name: tasks
-- Tasks of a tenant, newest first.
SELECT tenant, token, execution_id, frame, kind, resource, body, state, worker, answer, created_at, closed_at
FROM workflow_tasks
WHERE tenant = :tenant AND kind = :kind AND (created_at, token) < (:before_at, :before_id)
    AND (:states IS NULL OR state IN (SELECT value FROM json_each(:states)))
ORDER BY created_at DESC, token DESC LIMIT :limit;

-- name: unhanded
-- Tasks that were forgotten by whoever wrote them down.
SELECT tenant, token, execution_id, frame, kind, resource, body, state, worker, answer, created_at, closed_at
FROM workflow_tasks INDEXED BY workflow_tasks_unhanded
WHERE state = 'new' AND kind IN ('job', 'map', 'answer') AND created_at < ? ORDER BY created_at LIMIT ?;

-- name: handed
-- These were handed on.
UPDATE workflow_tasks SET state = 'dispatched' WHERE token IN (SELECT value FROM json_each(?)) AND state = 'new';

-- name: drop
-- News that was told.
DELETE FROM workflow_tasks WHERE token IN (SELECT value FROM json_each(?)) AND kind = 'answer';

-- name: first_to_fetch
-- The oldest task of an activity.
SELECT token FROM workflow_tasks INDEXED BY workflow_tasks_to_fetch
WHERE tenant = ? AND resource = ? AND state = 'new' AND kind = 'activity' ORDER BY created_at, rowid LIMIT 1;

-- name: take
-- Give a task of an activity to a worker.
UPDATE workflow_tasks SET state = 'taken', worker = ?2 WHERE token = ?1
RETURNING tenant, token, execution_id, frame, kind, resource, body, state, worker, answer, created_at, closed_at;

-- name: stale
-- Executions that ended long ago.
SELECT tenant, id FROM executions INDEXED BY executions_stopped
WHERE stopped_at IS NOT NULL AND stopped_at < ? ORDER BY stopped_at LIMIT ?;

-- name: remove
-- One execution with all it left behind.
DELETE FROM executions WHERE tenant = ? AND id = ?;
