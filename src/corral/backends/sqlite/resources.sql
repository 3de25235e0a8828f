-- name: drop_expired
-- Remove what ran out, was not swept yet, and stands in the way of something new.
DELETE FROM resources
WHERE tenant = :tenant AND kind = :kind AND expires_at <= :now
  AND (id = :id OR (parent = :parent AND name = :name AND :name <> ''));

-- name: create
-- Declare something, unless its id or its name is taken.
INSERT INTO resources (tenant, kind, id, parent, name, created_at, updated_at, expires_at, body)
VALUES (:tenant, :kind, :id, :parent, :name, :now, :now, :now + :ttl_s, :body)
ON CONFLICT DO NOTHING
RETURNING kind, id, parent, name, revision, created_at, updated_at, body, number;

-- name: save
-- Declare something, or replace what has its id.
INSERT INTO resources (tenant, kind, id, parent, name, created_at, updated_at, expires_at, body)
VALUES (:tenant, :kind, :id, :parent, :name, :now, :now, :now + :ttl_s, :body)
ON CONFLICT (tenant, kind, id) DO UPDATE SET
    revision = revision + 1, updated_at = max(updated_at, excluded.updated_at), expires_at = excluded.expires_at,
    body = excluded.body
RETURNING kind, id, parent, name, revision, created_at, updated_at, body, number;

-- name: change
-- Replace a body.
UPDATE resources SET body = :body, revision = revision + 1, updated_at = max(updated_at, :now)
WHERE tenant = :tenant AND kind = :kind AND id = :id
RETURNING kind, id, parent, name, revision, created_at, updated_at, body, number;

-- name: get
-- One of them.
SELECT kind, id, parent, name, revision, created_at, updated_at, body, number
FROM resources
WHERE tenant = :tenant AND kind = :kind AND id = :id AND (expires_at IS NULL OR expires_at > :now);

-- name: list
-- Those of a kind that belong to a parent, the latest created first.
SELECT kind, id, parent, name, revision, created_at, updated_at, body, number
FROM resources
WHERE tenant = :tenant AND parent = :parent AND kind = :kind AND number < :before
  AND (expires_at IS NULL OR expires_at > :now)
ORDER BY number DESC LIMIT :limit;

-- name: delete
-- Remove one of them.
DELETE FROM resources
WHERE tenant = :tenant AND kind = :kind AND id = :id AND (expires_at IS NULL OR expires_at > :now);

-- name: delete_children
-- Remove what belongs to it.
DELETE FROM resources WHERE tenant = :tenant AND parent = :id;

-- name: expire
-- Sweep what is past its time.
DELETE FROM resources WHERE number IN (
    SELECT number FROM resources WHERE expires_at <= :now ORDER BY expires_at LIMIT :limit
);
