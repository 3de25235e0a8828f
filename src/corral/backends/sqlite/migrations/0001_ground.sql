-- Sessions: events, branches, actors and the small state document. Times are seconds since 1970, to the microsecond;
-- JSON is UTF-8 text.

CREATE TABLE sessions (
    number        INTEGER PRIMARY KEY,
    tenant        TEXT    NOT NULL,
    session_id    TEXT    NOT NULL,
    actor         TEXT    NOT NULL DEFAULT '',
    created_at    REAL    NOT NULL,
    updated_at    REAL    NOT NULL,
    last_seq      INTEGER NOT NULL DEFAULT 0,
    expires_at    REAL,
    state_version INTEGER NOT NULL DEFAULT 0,
    metadata      BLOB,
    state         BLOB,
    UNIQUE (tenant, session_id)
);
CREATE INDEX sessions_by_activity ON sessions (tenant, updated_at, number);
CREATE INDEX sessions_by_expiry ON sessions (expires_at) WHERE expires_at IS NOT NULL;

-- An event's rowid is its session's number and its place in it (number << 32 | seq): the events of one session lie side
-- by side, in order, and need no index of their own. Small columns come first, so that filters do not read the content.
CREATE TABLE events (
    id         INTEGER PRIMARY KEY,
    created_at REAL NOT NULL,
    expires_at REAL,
    role       TEXT NOT NULL,
    actor      TEXT NOT NULL,
    branch     TEXT NOT NULL,
    turn       TEXT,
    labels     TEXT,
    metadata   BLOB,
    content    BLOB NOT NULL
);
CREATE INDEX events_by_expiry ON events (expires_at) WHERE expires_at IS NOT NULL;

-- Who spoke where. Rows stay when an event goes, and go with their session.
CREATE TABLE session_actors (
    tenant       TEXT    NOT NULL,
    actor        TEXT    NOT NULL,
    session      INTEGER NOT NULL,
    last_seen_at REAL    NOT NULL,
    PRIMARY KEY (tenant, actor, session)
) WITHOUT ROWID;
CREATE INDEX session_actors_by_session ON session_actors (session);

-- Where a branch left which other. `main` has no row.
CREATE TABLE branches (
    session INTEGER NOT NULL,
    name    TEXT    NOT NULL,
    parent  TEXT,
    left_at INTEGER NOT NULL,
    PRIMARY KEY (session, name)
) WITHOUT ROWID;

CREATE TRIGGER event_comes AFTER INSERT ON events WHEN new.actor <> ''
BEGIN
    INSERT INTO session_actors (tenant, actor, session, last_seen_at)
    SELECT tenant, new.actor, number, new.created_at FROM sessions WHERE number = new.id >> 32
    ON CONFLICT (tenant, actor, session) DO UPDATE SET last_seen_at = max(last_seen_at, excluded.last_seen_at);
END;

CREATE TRIGGER session_comes AFTER INSERT ON sessions WHEN new.actor <> ''
BEGIN
    INSERT INTO session_actors (tenant, actor, session, last_seen_at)
    VALUES (new.tenant, new.actor, new.number, new.created_at);
END;

CREATE TRIGGER session_goes AFTER DELETE ON sessions
BEGIN
    DELETE FROM events WHERE id > (old.number << 32) AND id < ((old.number + 1) << 32);
    DELETE FROM session_actors WHERE session = old.number;
    DELETE FROM branches WHERE session = old.number;
END;

-- Whose turn it is. The ticket with the lowest place is the holder. A session need not exist to have a line.
-- One B-tree on purpose: nearly every line has one ticket, and each further index would be a page more per commit.
CREATE TABLE tickets (
    tenant      TEXT    NOT NULL,
    session_id  TEXT    NOT NULL,
    turn        TEXT    NOT NULL,
    place       INTEGER NOT NULL,
    lease_until REAL    NOT NULL,
    PRIMARY KEY (tenant, session_id, turn)
) WITHOUT ROWID;

-- Answers by idempotency key. Without a reply the run goes on, as long as its lease.
CREATE TABLE invocations (
    tenant      TEXT NOT NULL,
    key         TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    token       TEXT NOT NULL,
    lease_until REAL NOT NULL,
    ttl_s       REAL NOT NULL,
    expires_at  REAL NOT NULL,
    reply       BLOB,
    PRIMARY KEY (tenant, key)
);
CREATE INDEX invocations_by_expiry ON invocations (expires_at);

CREATE TABLE spans (
    tenant     TEXT NOT NULL,
    trace_id   TEXT NOT NULL,
    span_id    TEXT NOT NULL,
    parent_id  TEXT,
    started_at REAL NOT NULL,
    duration_s REAL NOT NULL,
    name       TEXT NOT NULL,
    kind       TEXT NOT NULL,
    status     TEXT NOT NULL,
    attributes BLOB NOT NULL,
    PRIMARY KEY (tenant, trace_id, span_id)
);
CREATE INDEX spans_by_start ON spans (tenant, started_at);
CREATE INDEX spans_by_age ON spans (started_at);
