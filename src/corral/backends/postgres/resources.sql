-- name: create
-- Declare all or none.
SELECT corral.create_resources($1, $2, $3, $4, $5, $6, $7);

-- name: save
-- Declare something, or replace what has its id.
INSERT INTO corral.resources AS old (tenant, kind, id, parent, name, created_at, updated_at, expires_at, body)
VALUES ($1, $2, $3, $4, $5, corral.now(), corral.now(), corral.now() + $7::double precision, $6)
ON CONFLICT (tenant, kind, id) DO UPDATE SET
    revision = old.revision + 1, updated_at = greatest(old.updated_at, excluded.updated_at),
    expires_at = excluded.expires_at, body = excluded.body
RETURNING kind, id, parent, name, revision, created_at, updated_at, body, number;

-- name: change
-- Replace a body if nobody did since, and declare others with it.
SELECT corral.change_resource($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- name: get
-- One of them.
SELECT kind, id, parent, name, revision, created_at, updated_at, body, number
FROM corral.resources
WHERE tenant = $1 AND kind = $2 AND id = $3 AND (expires_at IS NULL OR expires_at > corral.now());

-- name: made
-- What was just declared, however short its life.
SELECT kind, id, parent, name, revision, created_at, updated_at, body, number
FROM corral.resources
WHERE tenant = $1 AND kind = ANY ($2) AND id = ANY ($3);

-- name: list
-- Those of a kind that belong to a parent, the latest created first.
SELECT kind, id, parent, name, revision, created_at, updated_at, body, number
FROM corral.resources
WHERE tenant = $1 AND parent = $2 AND kind = $3 AND number < $4 AND (expires_at IS NULL OR expires_at > corral.now())
ORDER BY number DESC LIMIT $5;

-- name: delete
-- Remove one of them, and what belongs to it.
WITH gone AS (
    DELETE FROM corral.resources
    WHERE tenant = $1 AND kind = $2 AND id = $3 AND (expires_at IS NULL OR expires_at > corral.now())
    RETURNING id
), children AS (
    DELETE FROM corral.resources WHERE tenant = $1 AND parent IN (SELECT id FROM gone)
)
SELECT count(*) FROM gone;

-- name: expire
-- Sweep what is past its time; other sweepers take others.
WITH gone AS (
    DELETE FROM corral.resources WHERE number IN (
        SELECT number FROM corral.resources WHERE expires_at <= (SELECT corral.now())
        ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
    ) RETURNING 1
) SELECT count(*) FROM gone;
