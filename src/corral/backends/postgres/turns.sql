-- name: join
-- Take a ticket.
SELECT refused, granted FROM corral.join_line($1, $2, $3, $4, $5, $6);

-- name: claim
-- Ask whether the turn has come.
SELECT refused, granted FROM corral.claim($1, $2, $3);

-- name: waits
-- A look without a lock: does a live ticket stand before this one.
SELECT EXISTS (
    SELECT 1 FROM corral.tickets AS mine JOIN corral.tickets AS earlier USING (tenant, session_id)
    WHERE tenant = $1 AND session_id = $2 AND mine.turn = $3
      AND earlier.place < mine.place AND earlier.lease_until > corral.now()
);

-- name: leave
-- Append, fenced, and give the ticket back.
SELECT corral.leave($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13);

-- name: renew
-- Extend the leases of tickets that still stand in line, and name those.
UPDATE corral.tickets AS ticket SET lease_until = corral.now() + $4
FROM unnest($1::text[], $2::text[], $3::text[]) AS mine(tenant, session_id, turn)
WHERE ticket.tenant = mine.tenant AND ticket.session_id = mine.session_id AND ticket.turn = mine.turn
RETURNING ticket.tenant, ticket.session_id, ticket.turn;
