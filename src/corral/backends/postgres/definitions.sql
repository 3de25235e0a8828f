-- name: keep
-- Keep a definition, unless it is kept already.
INSERT INTO corral.workflow_definitions (tenant, digest, created_at, body) VALUES ($1, $2, corral.now(), $3)
ON CONFLICT DO NOTHING;

-- name: body
-- Read a definition.
SELECT body FROM corral.workflow_definitions WHERE tenant = $1 AND digest = $2;

-- name: forget
-- Remove a definition.
WITH gone AS (
    DELETE FROM corral.workflow_definitions WHERE tenant = $1 AND digest = $2 RETURNING 1
) SELECT count(*) FROM gone;
