-- name: put
-- Keep a value, whatever was there before.
INSERT INTO blobs (tenant, name, body) VALUES (?1, ?2, ?3) ON CONFLICT (tenant, name) DO UPDATE SET body = excluded.body;

-- name: get
-- Read a value.
SELECT body FROM blobs WHERE tenant = ?1 AND name = ?2;

-- name: delete
-- Remove all values whose names begin so.
DELETE FROM blobs WHERE tenant = ?1 AND name >= ?2 AND substr(name, 1, length(?2)) = ?2
  AND name < ?2 || char(1114111);

-- name: expire
-- Remove values of all tenants whose names begin so and end with an earlier time.
DELETE FROM blobs WHERE rowid IN (
    SELECT rowid FROM blobs WHERE substr(name, 1, length(?1)) = ?1 AND substr(name, -36) < ?2 LIMIT ?3);
