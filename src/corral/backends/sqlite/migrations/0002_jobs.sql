-- Jobs. `jobs` keeps what was asked for and what came of it; `job_queue` has one narrow row per open job, under the same
-- number. Times are seconds since 1970; JSON is UTF-8 text. Large columns come last, so that lists do not read them.

CREATE TABLE jobs (
    number            INTEGER PRIMARY KEY,
    id                TEXT    NOT NULL UNIQUE,
    tenant            TEXT    NOT NULL,
    created_at        REAL    NOT NULL,
    -- Empty while the job is open: then its row in `job_queue` says how it stands.
    status            TEXT,
    agent             TEXT    NOT NULL,
    version           TEXT    NOT NULL,
    session_id        TEXT,
    user_id           TEXT,
    tier              TEXT    NOT NULL,
    queue             TEXT    NOT NULL,
    priority          INTEGER NOT NULL,
    fairness_key      TEXT    NOT NULL,
    weight            REAL    NOT NULL,
    concurrency_key   TEXT,
    concurrency_limit INTEGER NOT NULL,
    deadline_s        REAL,
    deadline_at       REAL,
    timeout_s         REAL,
    max_attempts      INTEGER NOT NULL,
    backoff           TEXT,
    tags              TEXT,
    batch_id          TEXT,
    callback          TEXT,
    traceparent       TEXT    NOT NULL,
    attempt           INTEGER NOT NULL DEFAULT 0,
    failures          INTEGER NOT NULL DEFAULT 0,
    started_at        REAL,
    finished_at       REAL,
    worker            TEXT,
    last_seq          INTEGER NOT NULL DEFAULT 0,
    has_journal       INTEGER NOT NULL DEFAULT 0,
    error             BLOB,
    input             BLOB    NOT NULL,
    result            BLOB
);
-- The number is part of every index: a tenant's jobs, in the order in which they came.
CREATE INDEX jobs_by_tenant ON jobs (tenant);
CREATE INDEX jobs_by_batch ON jobs (tenant, batch_id) WHERE batch_id IS NOT NULL;
CREATE INDEX jobs_that_failed ON jobs (tenant) WHERE status = 'failed';

-- `ready` and `parked` (its concurrency key has no free slot) are both `queued` to people. `pass` is the place in the claim's
-- walk. `since` is when it got ready, or was put up a rank.
CREATE TABLE job_queue (
    number            INTEGER PRIMARY KEY,
    id                TEXT    NOT NULL,
    tenant            TEXT    NOT NULL,
    agent             TEXT    NOT NULL,
    queue             TEXT    NOT NULL,
    rank              INTEGER NOT NULL,
    pass              REAL,
    state             TEXT    NOT NULL,
    since             REAL    NOT NULL,
    due_at            REAL,
    lease_until       REAL,
    deadline_at       REAL,
    started_at        REAL,
    token             TEXT,
    worker            TEXT,
    attempt           INTEGER NOT NULL DEFAULT 0,
    failures          INTEGER NOT NULL DEFAULT 0,
    max_attempts      INTEGER NOT NULL,
    fairness_key      TEXT    NOT NULL,
    weight            REAL    NOT NULL,
    concurrency_key   TEXT,
    concurrency_limit INTEGER NOT NULL,
    cancel            INTEGER NOT NULL DEFAULT 0,
    has_callback      INTEGER NOT NULL,
    has_journal       INTEGER NOT NULL DEFAULT 0,
    last_seq          INTEGER NOT NULL DEFAULT 0,
    awaits            TEXT    NOT NULL DEFAULT ''
);
CREATE INDEX job_queue_ready ON job_queue (queue, rank, pass) WHERE state = 'ready';
CREATE INDEX job_queue_due ON job_queue (due_at) WHERE state IN ('scheduled', 'waiting');
CREATE INDEX job_queue_leases ON job_queue (lease_until) WHERE state = 'running';
CREATE INDEX job_queue_deadlines ON job_queue (deadline_at) WHERE deadline_at IS NOT NULL;
CREATE INDEX job_queue_slots ON job_queue (tenant, concurrency_key, state, rank) WHERE concurrency_key IS NOT NULL;
CREATE INDEX job_queue_parked ON job_queue (since) WHERE state = 'parked' AND rank > 0;

-- How many jobs of a queue are open.
CREATE TABLE job_queues (
    queue TEXT    PRIMARY KEY,
    open  INTEGER NOT NULL
) WITHOUT ROWID;

-- The highest pass that was given in a rank of a queue, and the last one of each lane in it.
CREATE TABLE job_ranks (
    queue TEXT    NOT NULL,
    rank  INTEGER NOT NULL,
    top   REAL    NOT NULL,
    PRIMARY KEY (queue, rank)
) WITHOUT ROWID;
CREATE TABLE job_lanes (
    queue        TEXT    NOT NULL,
    rank         INTEGER NOT NULL,
    tenant       TEXT    NOT NULL,
    fairness_key TEXT    NOT NULL,
    pass         REAL    NOT NULL,
    PRIMARY KEY (queue, rank, tenant, fairness_key)
) WITHOUT ROWID;

-- Idempotency keys, and the jobs they stand for.
CREATE TABLE job_requests (
    tenant      TEXT NOT NULL,
    key         TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    job_id      TEXT NOT NULL,
    expires_at  REAL NOT NULL,
    PRIMARY KEY (tenant, key)
) WITHOUT ROWID;
CREATE INDEX job_requests_by_expiry ON job_requests (expires_at);

CREATE TABLE job_batches (
    tenant     TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    total      INTEGER NOT NULL,
    created_at REAL    NOT NULL,
    PRIMARY KEY (tenant, id)
) WITHOUT ROWID;
CREATE INDEX job_batches_by_age ON job_batches (created_at);

CREATE TABLE job_workers (
    worker  TEXT PRIMARY KEY,
    seen_at REAL NOT NULL,
    info    BLOB NOT NULL
) WITHOUT ROWID;

-- The journal. What is written once stays.
CREATE TABLE job_steps (
    job          INTEGER NOT NULL,
    key          TEXT    NOT NULL,
    ordinal      INTEGER NOT NULL,
    kind         TEXT    NOT NULL,
    is_reference INTEGER NOT NULL,
    failed       INTEGER NOT NULL,
    value        BLOB    NOT NULL,
    PRIMARY KEY (job, key)
) WITHOUT ROWID;

-- An event's rowid is its job's number and its own (job << 32 | seq).
CREATE TABLE job_events (
    id      INTEGER PRIMARY KEY,
    attempt INTEGER NOT NULL,
    kind    TEXT    NOT NULL,
    at      REAL    NOT NULL,
    data    BLOB    NOT NULL
);
CREATE TABLE job_progress (
    job  INTEGER PRIMARY KEY,
    data BLOB NOT NULL
);
CREATE TABLE job_attempts (
    job        INTEGER NOT NULL,
    attempt    INTEGER NOT NULL,
    worker     TEXT    NOT NULL,
    started_at REAL    NOT NULL,
    ended_at   REAL    NOT NULL,
    error      BLOB    NOT NULL,
    PRIMARY KEY (job, attempt)
) WITHOUT ROWID;

-- Callbacks. `next_at` is when one is due, or when the lease of its sender is over.
CREATE TABLE job_outbox (
    number     INTEGER PRIMARY KEY,
    id         TEXT    NOT NULL UNIQUE,
    job        INTEGER NOT NULL,
    tenant     TEXT    NOT NULL,
    job_id     TEXT    NOT NULL,
    callback   TEXT    NOT NULL,
    status     TEXT    NOT NULL DEFAULT 'pending',
    attempts   INTEGER NOT NULL DEFAULT 0,
    created_at REAL    NOT NULL,
    next_at    REAL    NOT NULL,
    token      TEXT,
    answer     TEXT    NOT NULL DEFAULT ''
);
CREATE INDEX job_outbox_due ON job_outbox (next_at) WHERE status = 'pending';
CREATE INDEX job_outbox_by_job ON job_outbox (job);
CREATE INDEX job_outbox_by_tenant ON job_outbox (tenant);

CREATE TABLE job_schedules (
    tenant   TEXT    NOT NULL,
    name     TEXT    NOT NULL,
    cron     TEXT    NOT NULL,
    timezone TEXT    NOT NULL,
    catch_up TEXT    NOT NULL,
    paused   INTEGER NOT NULL,
    next_at  REAL,
    last_at  REAL,
    job      BLOB    NOT NULL,
    PRIMARY KEY (tenant, name)
);
CREATE INDEX job_schedules_due ON job_schedules (next_at) WHERE NOT paused AND next_at IS NOT NULL;

CREATE TABLE blobs (
    tenant TEXT NOT NULL,
    name   TEXT NOT NULL,
    body   BLOB NOT NULL,
    PRIMARY KEY (tenant, name)
);
