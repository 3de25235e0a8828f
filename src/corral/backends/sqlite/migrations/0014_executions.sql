-- Executions: what is looked at often, and a revision that fences every move. What no engine need understand is JSON.
CREATE TABLE executions (
    tenant      TEXT    NOT NULL,
    id          TEXT    NOT NULL,
    arn         TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    machine_arn TEXT    NOT NULL,
    version_arn TEXT    NOT NULL,
    alias_arn   TEXT    NOT NULL,
    map_run_arn TEXT    NOT NULL,
    status      TEXT    NOT NULL,
    revision    INTEGER NOT NULL,
    mark        TEXT    NOT NULL,
    next_event  INTEGER NOT NULL,
    redrives    INTEGER NOT NULL,
    redriven_at REAL,
    started_at  REAL    NOT NULL,
    updated_at  REAL    NOT NULL,
    stopped_at  REAL,
    wake_at     REAL,
    facts       BLOB    NOT NULL,
    input       BLOB    NOT NULL,
    outcome     BLOB,
    UNIQUE (tenant, id)
);
CREATE UNIQUE INDEX executions_by_arn ON executions (tenant, arn);
CREATE INDEX executions_by_time ON executions (tenant, started_at, id);
CREATE INDEX executions_by_machine ON executions (tenant, machine_arn, started_at, id);
CREATE INDEX executions_open ON executions (tenant, started_at, id) WHERE status = 'RUNNING';
CREATE INDEX executions_by_map_run ON executions (tenant, map_run_arn, started_at, id) WHERE map_run_arn <> '';
CREATE INDEX executions_due ON executions (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX executions_stopped ON executions (stopped_at) WHERE stopped_at IS NOT NULL;

-- Bodies of states that run.
CREATE TABLE execution_frames (
    tenant       TEXT    NOT NULL,
    execution_id TEXT    NOT NULL,
    id           TEXT    NOT NULL,
    parent       TEXT,
    done         INTEGER NOT NULL,
    body         BLOB    NOT NULL,
    PRIMARY KEY (tenant, execution_id, id)
) WITHOUT ROWID;
CREATE INDEX execution_frames_below ON execution_frames (tenant, execution_id, parent);

-- History: events that were written together are one row.
CREATE TABLE execution_events (
    tenant       TEXT    NOT NULL,
    execution_id TEXT    NOT NULL,
    first        INTEGER NOT NULL,
    last         INTEGER NOT NULL,
    body         BLOB    NOT NULL,
    UNIQUE (tenant, execution_id, first)
);

-- What executions wait for: the outbox of jobs and map runs, work that others fetch, and questions to people.
CREATE TABLE workflow_tasks (
    tenant       TEXT NOT NULL,
    token        TEXT NOT NULL,
    execution_id TEXT NOT NULL,
    frame        TEXT NOT NULL,
    kind         TEXT NOT NULL,
    resource     TEXT NOT NULL,
    state        TEXT NOT NULL,
    worker       TEXT NOT NULL,
    body         BLOB NOT NULL,
    answer       BLOB,
    created_at   REAL NOT NULL,
    closed_at    REAL,
    UNIQUE (token)
);
CREATE INDEX workflow_tasks_by_execution ON workflow_tasks (tenant, execution_id);
CREATE INDEX workflow_tasks_by_kind ON workflow_tasks (tenant, kind, created_at, token) WHERE kind = 'approval';
CREATE INDEX workflow_tasks_unhanded ON workflow_tasks (created_at) WHERE state = 'new' AND kind IN ('job', 'map', 'answer');
CREATE INDEX workflow_tasks_to_fetch ON workflow_tasks (tenant, resource, created_at)
    WHERE state = 'new' AND kind = 'activity';

CREATE TRIGGER execution_goes AFTER DELETE ON executions BEGIN
    DELETE FROM execution_frames WHERE tenant = OLD.tenant AND execution_id = OLD.id;
    DELETE FROM execution_events WHERE tenant = OLD.tenant AND execution_id = OLD.id;
    DELETE FROM workflow_tasks WHERE tenant = OLD.tenant AND execution_id = OLD.id;
END;
