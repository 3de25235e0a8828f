-- name: read
-- What all workers know of one thing.
SELECT body, version FROM limits WHERE key = ?1;

-- name: put_first
-- Put the first body, under a version that no earlier one of this key had.
INSERT INTO limits (key, version, body, at) VALUES (?1, CAST(?3 * 1000000 AS INTEGER), ?2, ?3) ON CONFLICT DO NOTHING;

-- name: put_next
-- Put another body in place of one that is still there.
UPDATE limits SET version = version + 1, body = ?2, at = ?4 WHERE key = ?1 AND version = ?3;

-- name: forget
-- Remove some of what nobody changed since then.
DELETE FROM limits WHERE key IN (SELECT key FROM limits WHERE at < ?1 LIMIT ?2);
