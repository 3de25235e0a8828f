-- name: create
-- Make a session, unless it is there.
SELECT corral.create_session($1, $2, $3, $4, $5);

-- name: append
-- Append events, fenced by a turn when one is named.
SELECT refused, last_seq, written_at FROM corral.append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13);

-- name: get
-- One live session.
SELECT number, session_id, actor, created_at, updated_at, last_seq, expires_at, metadata
FROM corral.sessions
WHERE tenant = $1 AND session_id = $2 AND (expires_at IS NULL OR expires_at > corral.now());

-- name: list
-- A tenant's live sessions, the most recently active first.
SELECT number, session_id, actor, created_at, updated_at, last_seq, expires_at, metadata
FROM corral.sessions
WHERE tenant = $1 AND (expires_at IS NULL OR expires_at > corral.now())
  AND (updated_at, number) < ($2, $3)
  AND starts_with(session_id, $5)
ORDER BY updated_at DESC, number DESC LIMIT $4;

-- name: list_of_actor
-- A tenant's live sessions in which an actor appears, the most recently active first.
SELECT number, session_id, sessions.actor, created_at, updated_at, last_seq, expires_at, metadata
FROM corral.session_actors AS seen JOIN corral.sessions ON number = seen.session
WHERE seen.tenant = $1 AND seen.actor = $6 AND (expires_at IS NULL OR expires_at > corral.now())
  AND (updated_at, number) < ($2, $3)
  AND starts_with(session_id, $5)
ORDER BY updated_at DESC, number DESC LIMIT $4;

-- name: actors
-- Who appears in a tenant's live sessions, by name.
SELECT seen.actor, count(*), max(seen.last_seen_at)
FROM corral.session_actors AS seen JOIN corral.sessions ON number = seen.session
WHERE seen.tenant = $1 AND seen.actor > $2 AND (expires_at IS NULL OR expires_at > corral.now())
  AND starts_with(session_id, $4)
GROUP BY seen.actor ORDER BY seen.actor LIMIT $3;

-- name: events
-- Live events of a live session, newest first, through every filter that is given.
WITH RECURSIVE
line(name, upto) AS (
    SELECT $5::text COLLATE "C", 9223372036854775807 WHERE $5::text IS NOT NULL
    UNION ALL
    SELECT parent, least(upto, left_at)
    FROM line JOIN corral.branches ON branches.name = line.name AND session = (
        SELECT number FROM corral.sessions WHERE tenant = $1 AND session_id = $2)
    WHERE $6::boolean AND parent IS NOT NULL
)
SELECT seq, created_at, found.expires_at, role, actor, branch, turn, metadata, content, cold_seq, cold_at
FROM (
    SELECT number, cold_seq, cold_at FROM corral.sessions
    WHERE tenant = $1 AND session_id = $2 AND (expires_at IS NULL OR expires_at > corral.now())
) AS session LEFT JOIN LATERAL (
    SELECT seq, created_at, expires_at, role, actor, branch, turn, metadata, content
    FROM corral.events
    WHERE events.session = session.number
      AND seq < $3
      AND (expires_at IS NULL OR expires_at > (SELECT corral.now()))
      AND ($5::text IS NULL OR EXISTS (SELECT 1 FROM line WHERE line.name = branch AND seq <= upto))
      AND ($7::text IS NULL OR actor = $7)
      AND ($8::double precision IS NULL OR created_at >= $8)
      AND ($9::text[] IS NULL OR role = ANY ($9))
      AND ($10::text IS NULL OR labels @> $10::text::jsonb)
      AND ($11::text[] IS NULL OR labels ?& $11)
      AND ($12::text[] IS NULL OR NOT coalesce(labels, '{}'::jsonb) ?| $12)
    ORDER BY seq DESC LIMIT $4
) AS found ON true
ORDER BY seq DESC;

-- name: read_state
-- The state of a live session.
SELECT state, state_version FROM corral.sessions
WHERE tenant = $1 AND session_id = $2 AND (expires_at IS NULL OR expires_at > corral.now());

-- name: write_state
-- Replace the state, fenced and compared when that is asked for.
SELECT refused, version FROM corral.write_state($1, $2, $3, $4, $5);

-- name: fork
-- Copy a session up to an event under a new id.
SELECT corral.fork($1, $2, $3, $4, $5);

-- name: forget_session
-- Forget one session.
SELECT corral.forget_session($1, $2);

-- name: forget_actor
-- Forget an actor.
SELECT corral.forget_actor($1, $2);

-- name: forget_tenant
-- Forget all of a tenant's sessions.
SELECT corral.forget_tenant($1);

-- name: delete_event
-- Delete one event of a live session: the place it had, and up to which place its events lie in the archive.
WITH session AS (
    SELECT number, cold_seq FROM corral.sessions
    WHERE tenant = $1 AND session_id = $2 AND (expires_at IS NULL OR expires_at > corral.now())
), gone AS (
    DELETE FROM corral.events
    WHERE session = (SELECT number FROM session)
      AND seq = $3 AND trunc(created_at * 1000) = $4 AND (expires_at IS NULL OR expires_at > corral.now())
    RETURNING seq
) SELECT (SELECT seq FROM gone), (SELECT cold_seq FROM session);

-- name: expire_events
-- Sweep events past their time; other sweepers take other events.
WITH gone AS (
    DELETE FROM corral.events WHERE (session, seq) IN (
        SELECT session, seq FROM corral.events WHERE expires_at <= (SELECT corral.now())
        ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
    ) RETURNING 1
) SELECT count(*) FROM gone;

-- name: expire_sessions
-- Sweep sessions past their time; other sweepers take other sessions.
WITH gone AS (
    DELETE FROM corral.sessions WHERE number IN (
        SELECT number FROM corral.sessions WHERE expires_at <= (SELECT corral.now())
        ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
    ) RETURNING 1
) SELECT count(*) FROM gone;

-- name: drop_abandoned
-- Remove tickets of lines that nobody came back to, long after they ran out.
DELETE FROM corral.tickets WHERE (tenant, session_id, turn) IN (
    SELECT tenant, session_id, turn FROM corral.tickets WHERE lease_until <= (SELECT corral.now()) - $1
    LIMIT $2 FOR UPDATE SKIP LOCKED
);
