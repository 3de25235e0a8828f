-- name: append
-- Keep an entry under its tenant's next number, once.
INSERT INTO audit (tenant, number, id, at, action, subject, decision, rule, reason, actor, agent, session_id, run_id, details)
SELECT ?1, coalesce((SELECT number FROM audit_heads WHERE tenant = ?1), 0) + 1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11,
    ?12, ?13
WHERE NOT EXISTS (SELECT 1 FROM audit WHERE tenant = ?1 AND id = ?2);

-- name: entries
-- A tenant's entries, the highest number first.
SELECT number, tenant, id, at, action, subject, decision, rule, reason, actor, agent, session_id, run_id, details
FROM audit NOT INDEXED
WHERE tenant = :tenant AND number < :before AND at >= :since AND at < :until
    AND (:action IS NULL OR action = :action) AND (:subject IS NULL OR subject = :subject)
    AND (:decision IS NULL OR decision = :decision) AND (:rule IS NULL OR rule = :rule)
    AND (:actor IS NULL OR actor = :actor) AND (:agent IS NULL OR agent = :agent)
    AND (:session_id IS NULL OR session_id = :session_id) AND (:run_id IS NULL OR run_id = :run_id)
ORDER BY number DESC LIMIT :limit;

-- name: entries_of_run
-- A run's entries, the highest number first.
SELECT number, tenant, id, at, action, subject, decision, rule, reason, actor, agent, session_id, run_id, details
FROM audit INDEXED BY audit_by_run
WHERE tenant = :tenant AND run_id = :run_id AND number < :before AND at >= :since AND at < :until
    AND (:action IS NULL OR action = :action) AND (:subject IS NULL OR subject = :subject)
    AND (:decision IS NULL OR decision = :decision) AND (:rule IS NULL OR rule = :rule)
    AND (:actor IS NULL OR actor = :actor) AND (:agent IS NULL OR agent = :agent)
    AND (:session_id IS NULL OR session_id = :session_id)
ORDER BY number DESC LIMIT :limit;

-- name: expire
-- Sweep the oldest entries.
DELETE FROM audit WHERE (tenant, number) IN (
    SELECT tenant, number FROM audit INDEXED BY audit_by_age WHERE at < ?1 ORDER BY at LIMIT ?2);
