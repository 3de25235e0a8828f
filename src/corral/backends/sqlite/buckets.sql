-- name: create
-- Make a bucket.
INSERT INTO buckets (tenant, name, created_at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING;

-- name: buckets
-- Buckets by name.
SELECT name, created_at FROM buckets WHERE tenant = ?1 AND (?2 IS NULL OR name = ?2) ORDER BY name;

-- name: drop_bucket
-- Remove a bucket that has no objects.
DELETE FROM buckets WHERE tenant = ?1 AND name = ?2
  AND NOT EXISTS (SELECT 1 FROM bucket_objects WHERE tenant = ?1 AND bucket = ?2);

-- name: put
-- Keep an object, in place of the one that was there.
INSERT INTO bucket_objects (tenant, bucket, key, body, size, pieces, etag, content_type, modified_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
ON CONFLICT (tenant, bucket, key) DO UPDATE SET body = excluded.body, size = excluded.size, pieces = excluded.pieces,
    etag = excluded.etag, content_type = excluded.content_type, modified_at = excluded.modified_at;

-- name: get
-- One object.
SELECT bucket, key, body, size, pieces, etag, content_type, modified_at FROM bucket_objects
WHERE tenant = ?1 AND bucket = ?2 AND key = ?3;

-- name: list
-- Objects whose keys begin so, by key.
SELECT bucket, key, body, size, pieces, etag, content_type, modified_at FROM bucket_objects
WHERE tenant = ?1 AND bucket = ?2 AND key > ?4 AND key >= ?3 AND substr(key, 1, length(?3)) = ?3
  AND key < ?3 || char(1114111) || char(1114111)
ORDER BY key LIMIT ?5;

-- name: delete
-- Remove an object.
DELETE FROM bucket_objects WHERE tenant = ?1 AND bucket = ?2 AND key = ?3;
