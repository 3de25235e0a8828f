-- Runs of distributed Maps. What is large and never changes (`work`) is apart from what counts.
CREATE TABLE map_runs (
    tenant               TEXT    NOT NULL,
    id                   TEXT    NOT NULL,
    arn                  TEXT    NOT NULL,
    execution_id         TEXT    NOT NULL,
    phase                TEXT    NOT NULL,
    status               TEXT    NOT NULL,
    max_concurrency      INTEGER NOT NULL,
    tolerated_count      INTEGER,
    tolerated_percentage REAL,
    total                INTEGER NOT NULL DEFAULT 0,
    items_total          INTEGER NOT NULL DEFAULT 0,
    next_index           INTEGER NOT NULL DEFAULT 0,
    running              INTEGER NOT NULL DEFAULT 0,
    again                INTEGER NOT NULL DEFAULT 0,
    succeeded            INTEGER NOT NULL DEFAULT 0,
    failed               INTEGER NOT NULL DEFAULT 0,
    timed_out            INTEGER NOT NULL DEFAULT 0,
    aborted              INTEGER NOT NULL DEFAULT 0,
    items_succeeded      INTEGER NOT NULL DEFAULT 0,
    items_failed         INTEGER NOT NULL DEFAULT 0,
    items_timed_out      INTEGER NOT NULL DEFAULT 0,
    items_aborted        INTEGER NOT NULL DEFAULT 0,
    error                TEXT    NOT NULL DEFAULT '',
    cause                TEXT    NOT NULL DEFAULT '',
    started_at           REAL    NOT NULL,
    stopped_at           REAL,
    redrives             INTEGER NOT NULL DEFAULT 0,
    redriven_at          REAL,
    look_at              REAL    NOT NULL,
    holder               TEXT    NOT NULL DEFAULT '',
    held_until           REAL    NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, id)
) WITHOUT ROWID;
CREATE INDEX map_runs_by_execution ON map_runs (tenant, execution_id, started_at, id);
CREATE INDEX map_runs_to_look_at ON map_runs (look_at) WHERE phase <> 'over';
CREATE INDEX map_runs_over ON map_runs (stopped_at) WHERE phase = 'over';

CREATE TABLE map_run_work (
    tenant TEXT NOT NULL,
    id     TEXT NOT NULL,
    work   BLOB NOT NULL,
    PRIMARY KEY (tenant, id)
) WITHOUT ROWID;

-- Children that have begun once. Those that never did are the numbers from `next_index` on.
CREATE TABLE map_children (
    tenant     TEXT    NOT NULL,
    run_id     TEXT    NOT NULL,
    number     INTEGER NOT NULL,
    state      TEXT    NOT NULL,
    attempt    INTEGER NOT NULL DEFAULT 0,
    items      INTEGER NOT NULL DEFAULT 1,
    changed_at REAL    NOT NULL,
    record     BLOB,
    PRIMARY KEY (tenant, run_id, number)
) WITHOUT ROWID;
CREATE INDEX map_children_open ON map_children (tenant, run_id, state, number) WHERE state IN ('running', 'again');

CREATE TRIGGER map_run_goes AFTER DELETE ON map_runs
BEGIN
    DELETE FROM map_run_work WHERE tenant = old.tenant AND id = old.id;
    DELETE FROM map_children WHERE tenant = old.tenant AND run_id = old.id;
END;

-- Buckets that workflows read items from and write results to where no other storage is named. Bodies are large values.
CREATE TABLE buckets (
    tenant     TEXT NOT NULL,
    name       TEXT NOT NULL,
    created_at REAL NOT NULL,
    PRIMARY KEY (tenant, name)
) WITHOUT ROWID;

CREATE TABLE bucket_objects (
    tenant       TEXT    NOT NULL,
    bucket       TEXT    NOT NULL,
    key          TEXT    NOT NULL,
    body         TEXT    NOT NULL,
    size         INTEGER NOT NULL,
    pieces       INTEGER NOT NULL,
    etag         TEXT    NOT NULL,
    content_type TEXT    NOT NULL,
    modified_at  REAL    NOT NULL,
    PRIMARY KEY (tenant, bucket, key)
) WITHOUT ROWID;
