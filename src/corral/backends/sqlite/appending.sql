-- name: touch
-- Make the session or move it on; no row when it is there but expired.
INSERT INTO sessions (tenant, session_id, actor, created_at, updated_at, last_seq, expires_at)
VALUES (:tenant, :session_id, :actor, :now, :now, :events, :expires_at)
ON CONFLICT (tenant, session_id) DO UPDATE SET
    actor = CASE actor WHEN '' THEN excluded.actor ELSE actor END,
    updated_at = max(updated_at, excluded.updated_at),
    last_seq = last_seq + excluded.last_seq,
    expires_at = coalesce(excluded.expires_at, expires_at)
WHERE expires_at IS NULL OR expires_at > :now
RETURNING number, last_seq, updated_at;

-- name: delete_session
-- Delete one session, and with it all it owns.
DELETE FROM sessions WHERE tenant = :tenant AND session_id = :session_id;

-- name: append
-- Write one event at its place.
INSERT INTO events (id, created_at, expires_at, role, actor, branch, turn, labels, metadata, content)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10);

-- name: has_branch
-- Is a branch known in a session.
SELECT 1 FROM branches WHERE session = ?1 AND name = ?2;

-- name: event_before
-- The newest event before a place, and its branch.
SELECT id, branch FROM events WHERE id > ?1 AND id < ?2 ORDER BY id DESC LIMIT 1;

-- name: cold_seq
-- Up to which place the events of a session lie in the archive.
SELECT cold_seq FROM sessions WHERE number = ?1;

-- name: add_branch
-- Note where a branch left its parent.
INSERT INTO branches (session, name, parent, left_at) VALUES (?1, ?2, ?3, ?4);

-- name: find_event
-- When a live event was written, and on which branch.
SELECT created_at, branch FROM events WHERE id = ?1 AND (expires_at IS NULL OR expires_at > ?2);
