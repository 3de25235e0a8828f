-- name: append
-- Keep entries under their tenants' next numbers, each once.
SELECT corral.append_audit(
    $1::text[], $2::text[], $3::double precision[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
    $10::text[], $11::text[], $12::text[], $13::bytea[]);

-- name: entries
-- A tenant's entries, the highest number first.
SELECT number, tenant, id, at, action, subject, decision, rule, reason, actor, agent, session_id, run_id, details
FROM corral.audit
WHERE tenant = $1 AND number < $2 AND at >= $3 AND at < $4
    AND ($5::text IS NULL OR action = $5) AND ($6::text IS NULL OR subject = $6) AND ($7::text IS NULL OR decision = $7)
    AND ($8::text IS NULL OR rule = $8) AND ($9::text IS NULL OR actor = $9) AND ($10::text IS NULL OR agent = $10)
    AND ($11::text IS NULL OR session_id = $11) AND ($12::text IS NULL OR run_id = $12)
ORDER BY number DESC LIMIT $13;

-- name: expire
-- Sweep the oldest entries; other sweepers take other entries.
WITH gone AS (
    DELETE FROM corral.audit WHERE (tenant, number) IN (
        SELECT tenant, number FROM corral.audit WHERE at < $1 ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED
    ) RETURNING 1
) SELECT count(*) FROM gone;
