-- name: read
-- What all workers know of one thing.
SELECT kept.body, kept.version, corral.now() FROM (VALUES (0)) AS one LEFT JOIN corral.limits AS kept ON key = $1;

-- name: swap
-- Put a body where the version is still that; what is there now.
SELECT done, body, version, now FROM corral.swap_limit($1, $2, $3);

-- name: forget
-- Remove some of what nobody changed for so long.
WITH gone AS (
    DELETE FROM corral.limits WHERE key IN (
        SELECT key FROM corral.limits WHERE at < corral.now() - $1::double precision LIMIT $2 FOR UPDATE SKIP LOCKED)
    RETURNING 1)
SELECT count(*) FROM gone;
