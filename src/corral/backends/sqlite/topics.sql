-- name: save
-- Make a rule, or replace the one of that name, unless there are too many.
INSERT INTO event_rules (tenant, name, topic, paused, created_at, updated_at, body)
SELECT :tenant, :name, :topic, :paused, :now, :now, :body
WHERE (SELECT count(*) FROM event_rules WHERE tenant = :tenant) < :rules_max
   OR EXISTS (SELECT 1 FROM event_rules WHERE tenant = :tenant AND name = :name)
ON CONFLICT (tenant, name) DO UPDATE SET
    topic = excluded.topic, paused = excluded.paused, updated_at = max(updated_at, excluded.updated_at),
    body = excluded.body
RETURNING tenant, name, topic, paused, created_at, updated_at, body;

-- name: remove
-- Remove a rule.
DELETE FROM event_rules WHERE tenant = :tenant AND name = :name;

-- name: get
-- One rule.
SELECT tenant, name, topic, paused, created_at, updated_at, body FROM event_rules
WHERE tenant = :tenant AND name = :name;

-- name: list
-- A tenant's rules, by name.
SELECT tenant, name, topic, paused, created_at, updated_at, body FROM event_rules
WHERE tenant = :tenant AND (:topic IS NULL OR topic = :topic) ORDER BY name;

-- name: listening
-- The rules of a topic that are not paused, by name.
SELECT tenant, name, topic, paused, created_at, updated_at, body FROM event_rules INDEXED BY event_rules_by_topic
WHERE tenant = :tenant AND topic = :topic AND NOT paused ORDER BY name;
