-- name: keep
-- Keep a definition; of one that is kept already, that it was wanted again.
INSERT INTO corral.workflow_definitions (tenant, digest, created_at, body) VALUES ($1, $2, corral.now(), $3)
ON CONFLICT (tenant, digest) DO UPDATE SET created_at = excluded.created_at;

-- name: body
-- Read a definition.
SELECT body FROM corral.workflow_definitions WHERE tenant = $1 AND digest = $2;

-- name: forget
-- Remove a definition.
WITH gone AS (
    DELETE FROM corral.workflow_definitions
    WHERE tenant = $1 AND digest = $2 AND ($3::double precision IS NULL OR created_at < $3) RETURNING 1
) SELECT count(*) FROM gone;

-- name: unnamed
-- Definitions that nothing names, found in bodies without reading those as JSON: that fails for any text with a NUL in it.
WITH old AS MATERIALIZED (
    SELECT tenant, digest FROM corral.workflow_definitions WHERE created_at < $1
    EXCEPT
    SELECT tenant, substring(convert_from(body, 'UTF8') FROM '"setup":\{"digest":"([0-9a-f]{40})') FROM corral.resources
    WHERE kind IN ('workflow', 'workflow-version')
)
SELECT tenant, digest FROM old
EXCEPT
SELECT tenant, substring(convert_from(facts, 'UTF8') FROM '"digest":"([0-9a-f]{40})') FROM corral.executions
WHERE EXISTS (SELECT 1 FROM old)
LIMIT $2;
