-- name: create
-- Make a bucket.
INSERT INTO corral.buckets (tenant, name, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING name;

-- name: buckets
-- Buckets by name.
SELECT name, created_at FROM corral.buckets WHERE tenant = $1 AND ($2::text IS NULL OR name = $2) ORDER BY name;

-- name: drop_bucket
-- Remove a bucket that has no objects.
DELETE FROM corral.buckets WHERE tenant = $1 AND name = $2
  AND NOT EXISTS (SELECT 1 FROM corral.bucket_objects WHERE tenant = $1 AND bucket = $2) RETURNING name;

-- name: put
-- Keep an object in its bucket if that is there, and name the one whose place it takes.
WITH place AS (
    SELECT 1 FROM corral.buckets WHERE tenant = $1 AND name = $2 FOR SHARE
), before AS (
    SELECT bucket, key, body, size, pieces, etag, content_type, modified_at FROM corral.bucket_objects
    WHERE tenant = $1 AND bucket = $2 AND key = $3
), kept AS (
    INSERT INTO corral.bucket_objects AS one (tenant, bucket, key, body, size, pieces, etag, content_type, modified_at)
    SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9 FROM place
    ON CONFLICT (tenant, bucket, key) DO UPDATE SET body = excluded.body, size = excluded.size, pieces = excluded.pieces,
        etag = excluded.etag, content_type = excluded.content_type, modified_at = excluded.modified_at
    RETURNING one.key
)
SELECT before.bucket, before.key, before.body, before.size, before.pieces, before.etag, before.content_type, before.modified_at
FROM kept LEFT JOIN before ON true;

-- name: get
-- One object.
SELECT bucket, key, body, size, pieces, etag, content_type, modified_at FROM corral.bucket_objects
WHERE tenant = $1 AND bucket = $2 AND key = $3;

-- name: list
-- Objects whose keys begin so, by key.
SELECT bucket, key, body, size, pieces, etag, content_type, modified_at FROM corral.bucket_objects
WHERE tenant = $1 AND bucket = $2 AND key > $4 AND key >= $3 AND starts_with(key, $3) ORDER BY key LIMIT $5;

-- name: delete
-- Remove an object, and say what it was.
DELETE FROM corral.bucket_objects WHERE tenant = $1 AND bucket = $2 AND key = $3
RETURNING bucket, key, body, size, pieces, etag, content_type, modified_at;
