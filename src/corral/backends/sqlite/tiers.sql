-- name: stamp
-- The numbers of a live session.
SELECT number, created_at, erased, last_seq, cold_seq, ?3 FROM sessions
WHERE tenant = ?1 AND session_id = ?2 AND (expires_at IS NULL OR expires_at > ?3);

-- name: last_number
-- The newest session.
SELECT coalesce(max(number), 0) FROM sessions;

-- name: idle
-- Sessions within a stretch that were left alone, or that are long.
SELECT number, tenant, session_id, cold_seq, max(updated_at, warmed_at) <= :before
FROM sessions
WHERE number > :after AND number <= :upto AND last_seq > cold_seq AND (expires_at IS NULL OR expires_at > :now)
  AND (max(updated_at, warmed_at) <= :before OR last_seq - cold_seq > :events_max)
ORDER BY number LIMIT :limit;

-- name: session
-- What a session is now.
SELECT tenant, session_id, cold_seq FROM sessions WHERE number = ?1 AND (expires_at IS NULL OR expires_at > ?2);

-- name: has_turn
-- Somebody has a turn in the session, or waits for one.
SELECT 1 FROM tickets WHERE tenant = ?1 AND session_id = ?2 LIMIT 1;

-- name: last_to_go
-- The newest event that may go when so many stay.
SELECT id FROM events WHERE id > (:number << 32) AND id < ((:number + 1) << 32) ORDER BY id DESC LIMIT 1 OFFSET :keep;

-- name: oldest
-- The oldest live events of a session up to a place.
SELECT id & 4294967295, created_at, expires_at, role, actor, branch, turn, labels, metadata, content FROM events
WHERE id > (:number << 32) AND id <= :upto AND (expires_at IS NULL OR expires_at > :now)
ORDER BY id LIMIT :limit;

-- name: count_upto
-- How many live events a session has up to a place.
SELECT count(*) FROM events
WHERE id > (:number << 32) AND id <= (:number << 32) + :last_seq AND (expires_at IS NULL OR expires_at > :now);

-- name: note_litter
-- An object is going to be written.
INSERT INTO segment_litter (object, due_at) VALUES (?1, ?2);

-- name: take_from_litter
-- It becomes a segment.
DELETE FROM segment_litter WHERE object = ?1 AND NOT sweeping;

-- name: set_cold
-- From now on the session is cold up to a place.
UPDATE sessions SET cold_seq = :last_seq, cold_at = :cold_at WHERE number = :number;

-- name: remove_cold
-- The events that lie in the archive now.
DELETE FROM events WHERE id > (:number << 32) AND id <= (:number << 32) + :last_seq;

-- name: add_segment
-- One more segment.
INSERT INTO segments (session, last_seq, first_seq, events, bytes, object, digest, cold_at, next_expiry)
VALUES (:number, :last_seq, :first_seq, :events, :bytes, :object, :digest, :cold_at, :next_expiry);

-- name: segments
-- A live session's segments, the newest first.
SELECT tenant, session_id, number, first_seq, segments.last_seq, events, bytes, object, digest, segments.cold_at, next_expiry
FROM sessions JOIN segments ON session = number
WHERE tenant = ?1 AND session_id = ?2 AND (expires_at IS NULL OR expires_at > ?3)
ORDER BY segments.last_seq DESC;

-- name: take_segment
-- The newest segment of a session comes back.
DELETE FROM segments WHERE session = :number AND object = :object
    AND last_seq = (SELECT cold_seq FROM sessions WHERE number = :number);

-- name: bring_back
-- One event, at its place.
INSERT INTO events (id, created_at, expires_at, role, actor, branch, turn, labels, metadata, content)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10);

-- name: set_warm
-- The session is cold up to where its remaining segments end.
UPDATE sessions SET
    cold_seq = coalesce((SELECT max(last_seq) FROM segments WHERE session = :number), 0),
    cold_at = coalesce((SELECT max(cold_at) FROM segments WHERE session = :number), 0),
    warmed_at = :now
WHERE number = :number;

-- name: expiring
-- Segments that hold an event past its time.
SELECT tenant, session_id, number, first_seq, segments.last_seq, events, bytes, object, digest, segments.cold_at, next_expiry
FROM segments JOIN sessions ON number = session
WHERE next_expiry <= :now ORDER BY next_expiry LIMIT :limit;

-- name: cold_of_actor
-- Sessions in which an actor appears and that have segments.
SELECT sessions.tenant, session_id FROM session_actors AS seen JOIN sessions ON number = seen.session
WHERE seen.tenant = ?1 AND seen.actor = ?2 AND cold_seq > 0 LIMIT ?3;

-- name: sweep_litter
-- Objects that are due, and are nobody's from now on.
UPDATE segment_litter SET sweeping = 1
WHERE object IN (SELECT object FROM segment_litter WHERE due_at <= :now ORDER BY due_at LIMIT :limit)
RETURNING object;

-- name: swept
-- An object is gone.
DELETE FROM segment_litter WHERE object = ?1 AND sweeping;

-- name: count_sessions
-- How many live sessions there are, how many have events here and in the archive, and how many events are here.
SELECT count(*), coalesce(sum(last_seq > cold_seq), 0), coalesce(sum(cold_seq > 0), 0), coalesce(sum(last_seq - cold_seq), 0)
FROM sessions WHERE (:tenant IS NULL OR tenant = :tenant) AND (expires_at IS NULL OR expires_at > :now);

-- name: count_segments
-- How much lies in the archive.
SELECT coalesce(sum(segments.events), 0), coalesce(sum(bytes), 0)
FROM segments JOIN sessions ON number = session WHERE :tenant IS NULL OR tenant = :tenant;

-- name: mean_size
-- The mean size of the events of the sessions that were active last.
SELECT coalesce(avg(size), 0) FROM (
    SELECT length(content) + coalesce(length(metadata), 0) AS size
    FROM (
        SELECT number FROM sessions WHERE (:tenant IS NULL OR tenant = :tenant) AND last_seq > cold_seq
        ORDER BY number DESC LIMIT 50
    ) AS newest
    JOIN events ON id > (number << 32) AND id < ((number + 1) << 32)
    LIMIT 1000
);
