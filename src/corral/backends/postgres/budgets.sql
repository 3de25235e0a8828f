-- name: read
-- What lies at places, and what an operator said of them.
SELECT kept.version, kept.body, terms.body, corral.now()
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS asked (tenant, budget, who, period, number)
LEFT JOIN corral.budgets AS kept USING (tenant, budget, who, period)
LEFT JOIN corral.budget_terms AS terms USING (tenant, budget, who)
ORDER BY asked.number;

-- name: swap
-- Put bodies where the versions are still those, all or none.
SELECT swapped.done, terms.body, corral.now()
FROM (SELECT corral.swap_budgets($1, $2, $4, $3, $5, $6, $7) AS done) AS swapped
CROSS JOIN unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS asked (tenant, budget, who, number)
LEFT JOIN corral.budget_terms AS terms USING (tenant, budget, who)
ORDER BY asked.number;

-- name: set_terms
-- Say how much may be spent.
INSERT INTO corral.budget_terms AS terms VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant, budget, who) DO UPDATE SET body = excluded.body;

-- name: drop_terms
-- Say nothing of it any more.
DELETE FROM corral.budget_terms WHERE tenant = $1 AND budget = $2 AND who = $3;

-- name: accounts
-- A tenant's accounts of one budget in one period.
SELECT kept.who, kept.version, kept.body, terms.body
FROM corral.budgets AS kept LEFT JOIN corral.budget_terms AS terms USING (tenant, budget, who)
WHERE kept.tenant = $1 AND kept.budget = $2 AND kept.period = $3 AND (kept.who > $4 OR $4 = '')
ORDER BY kept.who LIMIT $5;

-- name: forget
-- Remove accounts that may be forgotten.
WITH gone AS (
    DELETE FROM corral.budgets WHERE ctid IN (
        SELECT ctid FROM corral.budgets WHERE until < corral.now() LIMIT $1 FOR UPDATE SKIP LOCKED
    ) RETURNING 1
) SELECT count(*) FROM gone;
