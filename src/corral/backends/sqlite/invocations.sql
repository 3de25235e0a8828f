-- name: find
-- What is known of a key.
SELECT fingerprint, lease_until, expires_at, reply FROM invocations WHERE tenant = :tenant AND key = :key;

-- name: claim
-- Take a key, whatever was there before.
INSERT INTO invocations (tenant, key, fingerprint, token, lease_until, ttl_s, expires_at)
VALUES (:tenant, :key, :fingerprint, :token, :lease_until, :ttl_s, :expires_at)
ON CONFLICT (tenant, key) DO UPDATE SET
    fingerprint = excluded.fingerprint, token = excluded.token, lease_until = excluded.lease_until,
    ttl_s = excluded.ttl_s, expires_at = excluded.expires_at, reply = NULL;

-- name: renew
-- Keep a claim alive.
UPDATE invocations SET lease_until = :lease_until
WHERE tenant = :tenant AND key = :key AND token = :token AND reply IS NULL;

-- name: finish
-- Keep the answer, from now on as long as its claim said.
UPDATE invocations SET reply = :reply, expires_at = :now + ttl_s
WHERE tenant = :tenant AND key = :key AND token = :token;

-- name: abandon
-- Give a claim up without an answer.
DELETE FROM invocations WHERE tenant = :tenant AND key = :key AND token = :token AND reply IS NULL;

-- name: expire
-- Sweep answers past their time, and claims past theirs whose run is dead.
DELETE FROM invocations WHERE (tenant, key) IN (
    SELECT tenant, key FROM invocations
    WHERE expires_at <= :now AND (reply IS NOT NULL OR lease_until <= :now) ORDER BY expires_at LIMIT :limit
);
