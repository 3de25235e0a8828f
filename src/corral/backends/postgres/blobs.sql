-- name: put
-- Keep a value.
INSERT INTO corral.blobs (tenant, name, created_at, body) VALUES ($1, $2, corral.now(), $3)
ON CONFLICT (name, tenant) DO UPDATE SET body = excluded.body, created_at = excluded.created_at;

-- name: get
-- Read a value.
SELECT body FROM corral.blobs WHERE tenant = $1 AND name = $2;

-- name: delete
-- Remove values whose names begin so.
WITH gone AS (
    DELETE FROM corral.blobs WHERE tenant = $1 AND name >= $2 AND starts_with(name, $2) RETURNING 1
) SELECT count(*) FROM gone;

-- name: expire
-- Remove values of all tenants whose names begin so and end with an earlier time.
WITH old AS (
    SELECT name, tenant FROM corral.blobs
    WHERE name >= $1 AND starts_with(name, $1) AND right(name, 36) COLLATE "C" < $2 LIMIT $3
), gone AS (
    DELETE FROM corral.blobs AS blob USING old WHERE blob.name = old.name AND blob.tenant = old.tenant RETURNING 1
) SELECT count(*) FROM gone;
