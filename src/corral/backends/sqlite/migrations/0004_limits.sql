-- What all workers know together of one provider's limits: small, and changed by comparing versions.
CREATE TABLE limits (
    key TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    body BLOB NOT NULL
) WITHOUT ROWID;

-- What every call of a model cost. `usage` and `tags` are JSON.
CREATE TABLE ledger (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    at REAL NOT NULL,
    tenant TEXT NOT NULL,
    agent TEXT NOT NULL,
    session_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    tags TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    input INTEGER NOT NULL,
    cache_read INTEGER NOT NULL,
    cache_write INTEGER NOT NULL,
    output INTEGER NOT NULL,
    reasoning INTEGER NOT NULL,
    estimated INTEGER NOT NULL,
    cost_usd REAL,
    cached TEXT NOT NULL,
    duration_s REAL NOT NULL,
    first_s REAL,
    outcome TEXT NOT NULL,
    prices TEXT NOT NULL,
    UNIQUE (at, id)
);

CREATE INDEX ledger_by_tenant ON ledger (tenant, at);
