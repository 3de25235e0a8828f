-- name: create
-- Make a session, unless it is there.
INSERT INTO sessions (tenant, session_id, actor, created_at, updated_at, expires_at, metadata)
VALUES (:tenant, :session_id, :actor, :now, :now, :expires_at, :metadata)
ON CONFLICT DO NOTHING RETURNING number;

-- name: drop_expired
-- Delete a session that ran out and was not swept yet.
DELETE FROM sessions WHERE tenant = :tenant AND session_id = :session_id AND expires_at <= :now;

-- name: get
-- One live session.
SELECT number, session_id, actor, created_at, updated_at, last_seq, expires_at, metadata
FROM sessions WHERE tenant = :tenant AND session_id = :session_id AND (expires_at IS NULL OR expires_at > :now);

-- name: list
-- A tenant's live sessions, the most recently active first.
SELECT number, session_id, actor, created_at, updated_at, last_seq, expires_at, metadata
FROM sessions
WHERE tenant = :tenant AND (expires_at IS NULL OR expires_at > :now)
  AND (:prefix = '' OR substr(session_id, 1, length(:prefix)) = :prefix)
  AND (:before_at IS NULL OR (updated_at, number) < (:before_at, :before_number))
ORDER BY updated_at DESC, number DESC LIMIT :limit;

-- name: list_of_actor
-- A tenant's live sessions in which an actor appears, the most recently active first.
SELECT number, session_id, sessions.actor, created_at, updated_at, last_seq, expires_at, metadata
FROM session_actors AS seen JOIN sessions ON number = seen.session
WHERE seen.tenant = :tenant AND seen.actor = :actor AND (expires_at IS NULL OR expires_at > :now)
  AND (:prefix = '' OR substr(session_id, 1, length(:prefix)) = :prefix)
  AND (:before_at IS NULL OR (updated_at, number) < (:before_at, :before_number))
ORDER BY updated_at DESC, number DESC LIMIT :limit;

-- name: actors
-- Who appears in a tenant's live sessions, by name.
SELECT seen.actor, count(*), max(seen.last_seen_at)
FROM session_actors AS seen JOIN sessions ON number = seen.session
WHERE seen.tenant = :tenant AND (:after IS NULL OR seen.actor > :after) AND (expires_at IS NULL OR expires_at > :now)
  AND (:prefix = '' OR substr(session_id, 1, length(:prefix)) = :prefix)
GROUP BY seen.actor ORDER BY seen.actor LIMIT :limit;

-- name: events
-- Live events of a live session, newest first, through every filter that is given: all of them as one JSON text.
WITH RECURSIVE
session(number) AS (
    SELECT number FROM sessions
    WHERE tenant = :tenant AND session_id = :session_id AND (expires_at IS NULL OR expires_at > :now)
),
line(name, upto) AS (
    SELECT :branch, 9223372036854775807 WHERE :branch IS NOT NULL
    UNION ALL
    SELECT parent, min(upto, ((SELECT number FROM session) << 32) + left_at)
    FROM line JOIN branches ON session = (SELECT number FROM session) AND branches.name = line.name
    WHERE :include_parents AND parent IS NOT NULL
),
found AS (
    SELECT id & 4294967295 AS seq, * FROM events
    WHERE id > ((SELECT number FROM session) << 32)
      AND id < ((SELECT number FROM session) << 32) + :before_seq
      AND (expires_at IS NULL OR expires_at > :now)
      AND (:branch IS NULL OR EXISTS (SELECT 1 FROM line WHERE line.name = branch AND id <= upto))
      AND (:actor IS NULL OR actor = :actor)
      AND (:since IS NULL OR created_at >= :since)
      AND (:roles IS NULL OR role IN (SELECT value FROM json_each(:roles)))
      AND (:labels IS NULL OR NOT EXISTS (
          SELECT 1 FROM json_each(:labels) AS wanted
          WHERE NOT EXISTS (
              SELECT 1 FROM json_each(coalesce(labels, '{}')) AS has
              WHERE has.key = wanted.key AND has.value = wanted.value
          )
      ))
      AND (:has IS NULL OR NOT EXISTS (
          SELECT 1 FROM json_each(:has) AS wanted
          WHERE wanted.value NOT IN (SELECT has.key FROM json_each(coalesce(labels, '{}')) AS has)
      ))
      AND (:lacks IS NULL OR NOT EXISTS (
          SELECT 1 FROM json_each(coalesce(labels, '{}')) AS has
          WHERE has.key IN (SELECT value FROM json_each(:lacks))
      ))
    ORDER BY id DESC LIMIT :limit
)
SELECT CAST('[' || coalesce(group_concat(
    '{"id":"' || printf('%016d#%08x', CAST(created_at * 1000 AS INTEGER), seq)
    || '","session_id":' || :quoted_id
    || ',"seq":' || seq
    || ',"role":"' || role
    || '","content":' || content
    || ',"actor":' || json_quote(actor)
    || ',"branch":' || json_quote(branch)
    || ',"turn":' || json_quote(turn)
    || ',"metadata":' || coalesce(metadata, '{}')
    || ',"created_at":' || printf('%.6f', created_at)
    || ',"expires_at":' || CASE WHEN expires_at IS NULL THEN 'null' ELSE printf('%.6f', expires_at) END
    || '}', ','), '') || ']' AS BLOB),
    (SELECT cold_seq FROM sessions WHERE number = (SELECT number FROM session)),
    (SELECT cold_at FROM sessions WHERE number = (SELECT number FROM session))
FROM found;

-- name: read_state
-- The state of a live session.
SELECT state, state_version FROM sessions
WHERE tenant = :tenant AND session_id = :session_id AND (expires_at IS NULL OR expires_at > :now);

-- name: write_state
-- Replace the state and count it.
UPDATE sessions SET state = :state, state_version = state_version + 1 WHERE number = :number RETURNING state_version;

-- name: fork_session
-- Make a session that is the copy of another, up to a place.
INSERT INTO sessions
    (tenant, session_id, actor, created_at, updated_at, last_seq, expires_at, state_version, metadata, state)
SELECT tenant, :new_session_id, actor, :now, max(:now, updated_at), min(last_seq, :upto), expires_at, state_version,
    metadata, state
FROM sessions WHERE number = :number
RETURNING number, session_id, actor, created_at, updated_at, last_seq, expires_at, metadata;

-- name: fork_events
-- Copy live events up to a place.
INSERT INTO events (id, created_at, expires_at, role, actor, branch, turn, labels, metadata, content)
SELECT id + ((:copy - :number) << 32), created_at, expires_at, role, actor, branch, turn, labels, metadata, content
FROM events
WHERE id > (:number << 32) AND id <= (:number << 32) + min(:upto, 4294967295)
  AND (expires_at IS NULL OR expires_at > :now);

-- name: fork_branches
-- Copy the branches that events were copied of.
INSERT INTO branches (session, name, parent, left_at)
SELECT :copy, name, parent, left_at FROM branches WHERE session = :number AND left_at < :upto;

-- name: delete_session
-- Delete one session.
DELETE FROM sessions WHERE tenant = :tenant AND session_id = :session_id;

-- name: delete_tenant
-- Delete all of a tenant's sessions.
DELETE FROM sessions WHERE tenant = :tenant;

-- name: cold_of_actor
-- Whether events lie in the archive of a session in which an actor appears.
SELECT 1 FROM session_actors AS seen JOIN sessions ON number = seen.session
WHERE seen.tenant = :tenant AND seen.actor = :actor AND cold_seq > 0 LIMIT 1;

-- name: cold_seq
-- Up to which place the events of a session lie in the archive.
SELECT cold_seq FROM sessions WHERE number = :number;

-- name: void_turns_of_actor
-- Void the tickets of every session in which an actor appears.
DELETE FROM tickets WHERE tenant = :tenant AND session_id IN (
    SELECT session_id FROM session_actors AS seen JOIN sessions ON number = seen.session
    WHERE seen.tenant = :tenant AND seen.actor = :actor
);

-- name: delete_events_of_actor
-- Delete what an actor said, anywhere.
DELETE FROM events WHERE id IN (
    SELECT events.id FROM session_actors AS seen
    JOIN events ON events.id > (seen.session << 32) AND events.id < ((seen.session + 1) << 32)
    WHERE seen.tenant = :tenant AND seen.actor = :actor AND events.actor = :actor
);

-- name: delete_sessions_of_actor
-- Delete the sessions in which nobody else said anything.
DELETE FROM sessions WHERE number IN (
    SELECT seen.session FROM session_actors AS seen
    WHERE seen.tenant = :tenant AND seen.actor = :actor AND NOT EXISTS (
        SELECT 1 FROM events
        WHERE id > (seen.session << 32) AND id < ((seen.session + 1) << 32) AND events.actor NOT IN ('', :actor)
    )
);

-- name: forget_actor_name
-- Take an actor's name off the sessions that remain.
UPDATE sessions SET actor = '' WHERE actor = :actor AND number IN (
    SELECT session FROM session_actors WHERE tenant = :tenant AND actor = :actor
);

-- name: forget_actor
-- Forget where an actor spoke.
DELETE FROM session_actors WHERE tenant = :tenant AND actor = :actor;

-- name: delete_event
-- Delete one event.
DELETE FROM events WHERE id = :id;

-- name: expire_events
-- Sweep events past their time.
DELETE FROM events WHERE id IN (
    SELECT id FROM events WHERE expires_at <= :now ORDER BY expires_at LIMIT :limit
);

-- name: expire_sessions
-- Sweep sessions past their time.
DELETE FROM sessions WHERE number IN (
    SELECT number FROM sessions WHERE expires_at <= :now ORDER BY expires_at LIMIT :limit
);
