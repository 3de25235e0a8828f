-- name: keep
-- Keep a definition; of one that is kept already, that it was wanted again.
INSERT INTO workflow_definitions (tenant, digest, created_at, body) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT DO UPDATE SET created_at = excluded.created_at;

-- name: body
-- Read a definition.
SELECT body FROM workflow_definitions WHERE tenant = ?1 AND digest = ?2;

-- name: forget
-- Remove a definition.
DELETE FROM workflow_definitions WHERE tenant = ?1 AND digest = ?2 AND (?3 IS NULL OR created_at < ?3);

-- name: unnamed
-- Definitions that nothing names. Executions are looked through where machines and versions leave any.
WITH old AS MATERIALIZED (
    SELECT tenant, digest FROM workflow_definitions WHERE created_at < ?1
    EXCEPT
    SELECT tenant, json_extract(CAST(body AS TEXT), '$.setup.digest') FROM resources
    WHERE kind IN ('workflow', 'workflow-version')
)
SELECT tenant, digest FROM old
EXCEPT
SELECT tenant, substr(json_extract(CAST(facts AS TEXT), '$.digest'), 1, 40) FROM executions
WHERE EXISTS (SELECT 1 FROM old)
LIMIT ?2;
