-- name: find
-- What is known of a key.
SELECT fingerprint, tool, begun_at, lease_until, expires_at, reply FROM tool_effects WHERE tenant = :tenant AND key = :key;

-- name: claim
-- Take a key, whatever was there before.
INSERT INTO tool_effects (tenant, key, fingerprint, tool, token, begun_at, lease_until, ttl_s, expires_at)
VALUES (:tenant, :key, :fingerprint, :tool, :token, :now, :now + :lease_s, :ttl_s, :now + :ttl_s)
ON CONFLICT (tenant, key) DO UPDATE SET
    fingerprint = excluded.fingerprint, tool = excluded.tool, token = excluded.token, begun_at = excluded.begun_at,
    lease_until = excluded.lease_until, ttl_s = excluded.ttl_s, expires_at = excluded.expires_at, reply = NULL;

-- name: renew
-- Keep a claim alive.
UPDATE tool_effects SET lease_until = :now + :lease_s
WHERE tenant = :tenant AND key = :key AND token = :token AND reply IS NULL;

-- name: finish
-- Remember what came of it, from now on as long as its claim said.
UPDATE tool_effects SET reply = :reply, expires_at = :now + ttl_s
WHERE tenant = :tenant AND key = :key AND token = :token;

-- name: lose
-- Nobody will know what came of it.
UPDATE tool_effects SET lease_until = :now
WHERE tenant = :tenant AND key = :key AND token = :token AND reply IS NULL;

-- name: give_up
-- Nothing has happened.
DELETE FROM tool_effects WHERE tenant = :tenant AND key = :key AND token = :token AND reply IS NULL;

-- name: expire
-- Sweep what is past its time; a call that is under way stays.
DELETE FROM tool_effects WHERE (tenant, key) IN (
    SELECT tenant, key FROM tool_effects
    WHERE expires_at <= :now AND (reply IS NOT NULL OR lease_until <= :now) ORDER BY expires_at LIMIT :limit
);

-- name: put_artefact
-- Keep a long result.
INSERT INTO tool_artefacts (tenant, owner, name, expires_at, body) VALUES (:tenant, :owner, :name, :now + :ttl_s, :body)
ON CONFLICT (tenant, owner, name) DO UPDATE SET expires_at = excluded.expires_at, body = excluded.body;

-- name: get_artefact
-- Read one.
SELECT body FROM tool_artefacts WHERE tenant = :tenant AND owner = :owner AND name = :name AND expires_at > :now;

-- name: expire_artefacts
-- Sweep those past their time.
DELETE FROM tool_artefacts WHERE (tenant, owner, name) IN (
    SELECT tenant, owner, name FROM tool_artefacts WHERE expires_at <= :now ORDER BY expires_at LIMIT :limit
);
