-- Agents' runs: what is looked at often is apart from what is large. A run without a holder has no token.
CREATE TABLE agent_runs (
    tenant           TEXT    NOT NULL,
    id               TEXT    NOT NULL,
    agent            TEXT    NOT NULL,
    state            TEXT    NOT NULL,
    session_id       TEXT    NOT NULL,
    user_id          TEXT    NOT NULL,
    job_id           TEXT    NOT NULL,
    parent_id        TEXT    NOT NULL,
    attempt          INTEGER NOT NULL,
    idempotency_key  TEXT,
    fingerprint      TEXT    NOT NULL,
    token            TEXT    NOT NULL,
    let_go           TEXT    NOT NULL DEFAULT '',
    lease_until      REAL    NOT NULL,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    resumable        INTEGER NOT NULL DEFAULT 1,
    entries          INTEGER NOT NULL,
    steps            INTEGER NOT NULL DEFAULT 0,
    tool_calls       INTEGER NOT NULL DEFAULT 0,
    usage            BLOB    NOT NULL,
    cost_usd         REAL,
    error_code       TEXT    NOT NULL DEFAULT '',
    created_at       REAL    NOT NULL,
    updated_at       REAL    NOT NULL,
    ended_at         REAL,
    outcome          BLOB,
    UNIQUE (tenant, id)
);
CREATE UNIQUE INDEX agent_runs_by_key ON agent_runs (tenant, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX agent_runs_by_time ON agent_runs (tenant, created_at, id);
CREATE INDEX agent_runs_open ON agent_runs (tenant, created_at, id) WHERE ended_at IS NULL;
CREATE INDEX agent_runs_by_session ON agent_runs (tenant, session_id, created_at, id) WHERE session_id <> '';
CREATE INDEX agent_runs_by_change ON agent_runs (updated_at);

CREATE TABLE agent_entries (
    tenant TEXT    NOT NULL,
    run_id TEXT    NOT NULL,
    seq    INTEGER NOT NULL,
    at     REAL    NOT NULL,
    kind   TEXT    NOT NULL,
    body   BLOB    NOT NULL,
    UNIQUE (tenant, run_id, seq)
);

CREATE TABLE agent_approvals (
    tenant     TEXT NOT NULL,
    id         TEXT NOT NULL,
    run_id     TEXT NOT NULL,
    state      TEXT NOT NULL,
    asked_at   REAL NOT NULL,
    expires_at REAL,
    decided_at REAL,
    question   BLOB NOT NULL,
    decision   BLOB,
    UNIQUE (tenant, id)
);
CREATE INDEX agent_approvals_by_time ON agent_approvals (tenant, asked_at, id);
CREATE INDEX agent_approvals_waiting ON agent_approvals (tenant, asked_at, id) WHERE state = 'waiting';
CREATE INDEX agent_approvals_by_run ON agent_approvals (tenant, run_id);

CREATE TRIGGER agent_run_goes AFTER DELETE ON agent_runs BEGIN
    DELETE FROM agent_entries WHERE tenant = OLD.tenant AND run_id = OLD.id;
    DELETE FROM agent_approvals WHERE tenant = OLD.tenant AND run_id = OLD.id;
END;
