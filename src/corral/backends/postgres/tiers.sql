-- name: stamp
-- The numbers of a live session.
SELECT number, created_at, erased, last_seq, cold_seq, corral.now() FROM corral.sessions
WHERE tenant = $1 AND session_id = $2 AND (expires_at IS NULL OR expires_at > corral.now());

-- name: last_number
-- The newest session.
SELECT coalesce(max(number), 0) FROM corral.sessions;

-- name: idle
-- Sessions within a stretch that were left alone, or that are long.
SELECT number, tenant, session_id, cold_seq, greatest(updated_at, warmed_at) <= clock.now - $3
FROM corral.sessions, (SELECT corral.now()) AS clock(now)
WHERE number > $1 AND number <= $2 AND last_seq > cold_seq AND (expires_at IS NULL OR expires_at > clock.now)
  AND (greatest(updated_at, warmed_at) <= clock.now - $3 OR last_seq - cold_seq > $4)
ORDER BY number LIMIT $5;

-- name: begin
-- The oldest live events of a session that may go, if nobody has its turn; the object is noted as litter.
WITH clock AS MATERIALIZED (
    SELECT corral.now() AS now
), session AS (
    SELECT number FROM corral.sessions, clock
    WHERE number = $1 AND cold_seq = $2 AND (expires_at IS NULL OR expires_at > clock.now) AND NOT EXISTS (
        SELECT 1 FROM corral.tickets WHERE tickets.tenant = sessions.tenant AND tickets.session_id = sessions.session_id)
), last_to_go AS (
    SELECT seq FROM corral.events WHERE events.session = (SELECT number FROM session) ORDER BY seq DESC LIMIT 1 OFFSET $3
), noted AS (
    INSERT INTO corral.segment_litter (object, due_at)
    SELECT $4, clock.now + $5 FROM clock, last_to_go
)
SELECT seq, created_at, expires_at, role, actor, branch, turn, labels, metadata, content FROM (
    SELECT seq, created_at, expires_at, role, actor, branch, turn, labels::text AS labels, metadata, content,
        sum(length(content) + coalesce(length(metadata), 0)) OVER (ORDER BY seq) AS size, row_number() OVER (ORDER BY seq) AS place
    FROM (
        SELECT events.* FROM corral.events, clock
        WHERE events.session = (SELECT number FROM session) AND seq <= (SELECT seq FROM last_to_go)
          AND (expires_at IS NULL OR expires_at > clock.now)
        ORDER BY seq LIMIT $6
    ) AS oldest
) AS sized
WHERE size <= $7 OR place = 1 ORDER BY seq;

-- name: end
-- Make a segment and remove its events, if nothing has changed.
SELECT corral.cool($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: segments
-- A live session's segments, the newest first.
SELECT tenant, session_id, number, first_seq, segments.last_seq, events, bytes, object, digest, segments.cold_at, next_expiry
FROM corral.sessions JOIN corral.segments ON session = number
WHERE tenant = $1 AND session_id = $2 AND (expires_at IS NULL OR expires_at > corral.now())
ORDER BY segments.last_seq DESC;

-- name: restore
-- Bring the events of a session's newest segment back.
SELECT corral.warm($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12);

-- name: expiring
-- Segments that hold an event past its time.
SELECT tenant, session_id, number, first_seq, segments.last_seq, events, bytes, object, digest, segments.cold_at, next_expiry
FROM corral.segments JOIN corral.sessions ON number = session
WHERE next_expiry <= (SELECT corral.now()) ORDER BY next_expiry LIMIT $1;

-- name: cold_of_actor
-- Sessions in which an actor appears and that have segments.
SELECT sessions.tenant, session_id FROM corral.session_actors AS seen JOIN corral.sessions ON number = seen.session
WHERE seen.tenant = $1 AND seen.actor = $2 AND cold_seq > 0 LIMIT $3;

-- name: sweep_litter
-- Objects that are due, and are nobody's from now on; other sweepers take other objects.
UPDATE corral.segment_litter SET sweeping = true
WHERE object IN (
    SELECT object FROM corral.segment_litter WHERE due_at <= (SELECT corral.now())
    ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
) RETURNING object;

-- name: swept
-- Objects that are gone.
DELETE FROM corral.segment_litter WHERE object = ANY ($1) AND sweeping;

-- name: counts
-- How much is where, and the mean size of the events of the sessions that were made last.
SELECT count(*), count(*) FILTER (WHERE last_seq > cold_seq), count(*) FILTER (WHERE cold_seq > 0),
    coalesce(sum(last_seq - cold_seq), 0)::bigint,
    (SELECT coalesce(sum(events), 0)::bigint FROM corral.segments JOIN corral.sessions ON number = session
     WHERE $1::text IS NULL OR tenant = $1),
    (SELECT coalesce(sum(bytes), 0)::bigint FROM corral.segments JOIN corral.sessions ON number = session
     WHERE $1::text IS NULL OR tenant = $1),
    (SELECT coalesce(avg(size), 0)::double precision FROM (
        SELECT length(content) + coalesce(length(events.metadata), 0) AS size
        FROM (
            SELECT number FROM corral.sessions WHERE ($1::text IS NULL OR tenant = $1) AND last_seq > cold_seq
            ORDER BY number DESC LIMIT 50
        ) AS newest JOIN corral.events ON session = number
        LIMIT 1000
    ) AS sizes)
FROM corral.sessions WHERE ($1::text IS NULL OR tenant = $1) AND (expires_at IS NULL OR expires_at > (SELECT corral.now()));
