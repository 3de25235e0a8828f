-- name: keep
-- Keep a definition, unless it is kept already.
INSERT INTO workflow_definitions (tenant, digest, created_at, body) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING;

-- name: body
-- Read a definition.
SELECT body FROM workflow_definitions WHERE tenant = ?1 AND digest = ?2;

-- name: forget
-- Remove a definition.
DELETE FROM workflow_definitions WHERE tenant = ?1 AND digest = ?2;
