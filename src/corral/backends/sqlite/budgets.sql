-- name: read
-- What lies at a place, and what an operator said of it.
SELECT kept.version, kept.body, terms.body
FROM (SELECT 1) LEFT JOIN budgets AS kept ON kept.tenant = ?1 AND kept.budget = ?2 AND kept.who = ?3 AND kept.period = ?4
LEFT JOIN budget_terms AS terms ON terms.tenant = ?1 AND terms.budget = ?2 AND terms.who = ?3;

-- name: version
-- The version at a place.
SELECT version FROM budgets WHERE tenant = ?1 AND budget = ?2 AND who = ?3 AND period = ?4;

-- name: put
-- Put what was compared before.
INSERT INTO budgets (tenant, budget, who, period, version, body, until) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
ON CONFLICT DO UPDATE SET version = excluded.version, body = excluded.body, until = excluded.until;

-- name: set_terms
-- Say how much may be spent.
INSERT INTO budget_terms (tenant, budget, who, body) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT DO UPDATE SET body = excluded.body;

-- name: drop_terms
-- Say nothing of it any more.
DELETE FROM budget_terms WHERE tenant = ?1 AND budget = ?2 AND who = ?3;

-- name: accounts
-- A tenant's accounts of one budget in one period.
SELECT kept.who, kept.version, kept.body, terms.body
FROM budgets AS kept
LEFT JOIN budget_terms AS terms
ON terms.tenant = kept.tenant AND terms.budget = kept.budget AND terms.who = kept.who
WHERE kept.tenant = ?1 AND kept.budget = ?2 AND kept.period = ?3 AND (kept.who > ?4 OR ?4 = '') ORDER BY kept.who LIMIT ?5;

-- name: forget
-- Remove accounts that may be forgotten.
DELETE FROM budgets WHERE (tenant, budget, period, who) IN (
    SELECT tenant, budget, period, who FROM budgets WHERE until < ?1 LIMIT ?2
);
