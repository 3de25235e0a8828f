-- name: begin
-- Claim a key.
SELECT o_outcome, o_left, o_reply, o_tool, o_begun_at FROM corral.begin_effect($1, $2, $3, $4, $5, $6, $7, $8);

-- name: renew
-- Keep a claim alive.
UPDATE corral.tool_effects SET lease_until = corral.now() + $4
WHERE tenant = $1 AND key = $2 AND token = $3 AND reply IS NULL RETURNING 1;

-- name: finish
-- Remember what came of it, from now on as long as its claim said.
UPDATE corral.tool_effects SET reply = $4, expires_at = corral.now() + ttl_s
WHERE tenant = $1 AND key = $2 AND token = $3 RETURNING 1;

-- name: lose
-- Nobody will know what came of it.
UPDATE corral.tool_effects SET lease_until = corral.now()
WHERE tenant = $1 AND key = $2 AND token = $3 AND reply IS NULL;

-- name: give_up
-- Nothing has happened.
DELETE FROM corral.tool_effects WHERE tenant = $1 AND key = $2 AND token = $3 AND reply IS NULL;

-- name: expire
-- Sweep what is past its time; a call that is under way stays, and other sweepers take other keys.
WITH gone AS (
    DELETE FROM corral.tool_effects WHERE (tenant, key) IN (
        SELECT tenant, key FROM corral.tool_effects
        WHERE expires_at <= (SELECT corral.now()) AND (reply IS NOT NULL OR lease_until <= (SELECT corral.now()))
        ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
    ) RETURNING 1
) SELECT count(*) FROM gone;

-- name: put_artefact
-- Keep a long result.
INSERT INTO corral.tool_artefacts (tenant, owner, name, expires_at, body) VALUES ($1, $2, $3, corral.now() + $5, $4)
ON CONFLICT (tenant, owner, name) DO UPDATE SET expires_at = excluded.expires_at, body = excluded.body;

-- name: get_artefact
-- Read one.
SELECT body FROM corral.tool_artefacts WHERE tenant = $1 AND owner = $2 AND name = $3 AND expires_at > corral.now();

-- name: expire_artefacts
-- Sweep those past their time.
WITH gone AS (
    DELETE FROM corral.tool_artefacts WHERE (tenant, owner, name) IN (
        SELECT tenant, owner, name FROM corral.tool_artefacts WHERE expires_at <= (SELECT corral.now())
        ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
    ) RETURNING 1
) SELECT count(*) FROM gone;
