-- name: line
-- How many tickets a line has, how many of them ran out, the last place given, and whether this turn is among them.
SELECT count(*), coalesce(sum(lease_until <= :now), 0), coalesce(max(place), 0), coalesce(max(turn = :turn), 0)
FROM tickets WHERE tenant = :tenant AND session_id = :session_id;

-- name: drop_lapsed
-- Remove the tickets that ran out.
DELETE FROM tickets WHERE tenant = :tenant AND session_id = :session_id AND lease_until <= :now;

-- name: take_first
-- Take a ticket in a line where nobody stands: what nearly always happens.
INSERT INTO tickets (tenant, session_id, turn, place, lease_until)
SELECT ?1, ?2, ?3, 1, ?4 WHERE NOT EXISTS (SELECT 1 FROM tickets WHERE tenant = ?1 AND session_id = ?2);

-- name: take
-- Take a ticket at the end of the line.
INSERT INTO tickets (tenant, session_id, turn, place, lease_until)
VALUES (:tenant, :session_id, :turn, :place, :lease_until);

-- name: place
-- Where a ticket stands.
SELECT place FROM tickets WHERE tenant = :tenant AND session_id = :session_id AND turn = :turn;

-- name: live_before
-- Is there a live ticket before this place.
SELECT 1 FROM tickets
WHERE tenant = :tenant AND session_id = :session_id AND place < :place AND lease_until > :now LIMIT 1;

-- name: drop_before
-- Void every ticket before this place, and name them.
DELETE FROM tickets WHERE tenant = :tenant AND session_id = :session_id AND place < :place RETURNING turn;

-- name: head
-- The first ticket of a line: whose turn it is.
SELECT turn, lease_until FROM tickets WHERE tenant = ?1 AND session_id = ?2 ORDER BY place LIMIT 1;

-- name: renew
-- Extend a ticket's lease, if it still stands in line.
UPDATE tickets SET lease_until = ?1 WHERE tenant = ?2 AND session_id = ?3 AND turn = ?4;

-- name: drop_first
-- Give a ticket back, if it is the first of its line.
DELETE FROM tickets
WHERE tenant = ?1 AND session_id = ?2 AND turn = ?3 AND NOT EXISTS (
    SELECT 1 FROM tickets AS earlier
    WHERE earlier.tenant = ?1 AND earlier.session_id = ?2 AND earlier.place < tickets.place
);

-- name: drop
-- Give a ticket back.
DELETE FROM tickets WHERE tenant = ?1 AND session_id = ?2 AND turn = ?3;

-- name: drop_session
-- Void every ticket of a session.
DELETE FROM tickets WHERE tenant = :tenant AND session_id = :session_id;

-- name: drop_tenant
-- Void every ticket of a tenant.
DELETE FROM tickets WHERE tenant = :tenant;

-- name: drop_abandoned
-- Remove tickets of lines that nobody came back to, long after they ran out.
DELETE FROM tickets WHERE (tenant, session_id, turn) IN (
    SELECT tenant, session_id, turn FROM tickets WHERE lease_until <= :before LIMIT :limit
);

-- name: roll_back
-- Delete what voided turns wrote.
DELETE FROM events
WHERE id > ((SELECT number FROM sessions WHERE tenant = :tenant AND session_id = :session_id) << 32)
  AND id < ((SELECT number + 1 FROM sessions WHERE tenant = :tenant AND session_id = :session_id) << 32)
  AND turn IN (SELECT value FROM json_each(:turns));
