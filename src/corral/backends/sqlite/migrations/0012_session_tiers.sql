-- Tiers of sessions. What is cold of a session are its oldest events, up to `cold_seq`: they lie in objects outside, one
-- segment each. What is newer is here. `cold_at`: when the newest cold event was written; `warmed_at`: when events were
-- last brought back; `erased` counts what was taken out of the session by somebody, so that copies of it can be told old.
ALTER TABLE sessions ADD COLUMN cold_seq INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN cold_at REAL NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN warmed_at REAL NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN erased INTEGER NOT NULL DEFAULT 0;

CREATE TABLE segments (
    session     INTEGER NOT NULL,
    last_seq    INTEGER NOT NULL,
    first_seq   INTEGER NOT NULL,
    events      INTEGER NOT NULL,
    bytes       INTEGER NOT NULL,
    object      TEXT    NOT NULL,
    digest      TEXT    NOT NULL,
    cold_at     REAL    NOT NULL,
    next_expiry REAL,
    PRIMARY KEY (session, last_seq)
) WITHOUT ROWID;
CREATE INDEX segments_by_expiry ON segments (next_expiry) WHERE next_expiry IS NOT NULL;

-- Objects that belong to nobody from `due_at` on: those of segments that are gone, and those that are being written, which
-- are taken out of here by the very transaction that makes a segment of them.
CREATE TABLE segment_litter (
    object   TEXT PRIMARY KEY,
    due_at   REAL    NOT NULL,
    sweeping INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX segment_litter_by_due ON segment_litter (due_at);

CREATE TRIGGER segment_goes AFTER DELETE ON segments
BEGIN
    INSERT INTO segment_litter (object, due_at) VALUES (old.object, 0) ON CONFLICT (object) DO NOTHING;
END;

CREATE TRIGGER session_leaves_segments AFTER DELETE ON sessions WHEN old.cold_seq > 0
BEGIN
    DELETE FROM segments WHERE session = old.number;
END;

CREATE TRIGGER event_erased AFTER DELETE ON events
BEGIN
    UPDATE sessions SET erased = erased + 1 WHERE number = old.id >> 32 AND cold_seq < (old.id & 4294967295);
END;

-- Summaries of the beginnings of conversations, by a hash of what they cover. They go when anything of the session does.
CREATE TABLE context_summaries (
    tenant     TEXT NOT NULL,
    session_id TEXT NOT NULL,
    digest     TEXT NOT NULL,
    created_at REAL NOT NULL,
    summary    BLOB NOT NULL,
    PRIMARY KEY (tenant, session_id, digest)
) WITHOUT ROWID;

CREATE TRIGGER session_leaves_summaries AFTER DELETE ON sessions
BEGIN
    DELETE FROM context_summaries WHERE tenant = old.tenant AND session_id = old.session_id;
END;

CREATE TRIGGER session_erases_summaries AFTER UPDATE OF erased ON sessions
BEGIN
    DELETE FROM context_summaries WHERE tenant = new.tenant AND session_id = new.session_id;
END;
