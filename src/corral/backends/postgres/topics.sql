-- name: save
-- Make a rule, or replace the one of that name, unless there are too many.
WITH moment AS MATERIALIZED (SELECT corral.now() AS now)
INSERT INTO corral.event_rules AS old (tenant, name, topic, paused, created_at, updated_at, body)
SELECT $1, $2, $3, $4, moment.now, moment.now, $5 FROM moment
WHERE (SELECT count(*) FROM corral.event_rules WHERE tenant = $1) < $6
   OR EXISTS (SELECT 1 FROM corral.event_rules WHERE tenant = $1 AND name = $2)
ON CONFLICT (tenant, name) DO UPDATE SET
    topic = excluded.topic, paused = excluded.paused, updated_at = greatest(old.updated_at, excluded.updated_at),
    body = excluded.body
RETURNING tenant, name, topic, paused, created_at, updated_at, body, xmax = 0;

-- name: remove
-- Remove a rule.
DELETE FROM corral.event_rules WHERE tenant = $1 AND name = $2 RETURNING 1;

-- name: get
-- One rule.
SELECT tenant, name, topic, paused, created_at, updated_at, body FROM corral.event_rules
WHERE tenant = $1 AND name = $2;

-- name: list
-- A tenant's rules, by name.
SELECT tenant, name, topic, paused, created_at, updated_at, body FROM corral.event_rules
WHERE tenant = $1 AND ($2::text IS NULL OR topic = $2) ORDER BY name;

-- name: listening
-- The rules of a topic that are not paused, by name.
SELECT tenant, name, topic, paused, created_at, updated_at, body FROM corral.event_rules
WHERE tenant = $1 AND topic = $2 AND NOT paused ORDER BY name;
