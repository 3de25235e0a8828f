-- name: generation
-- How often a tenant's answers were cleared.
SELECT generation FROM semantic_generations WHERE tenant = ?1;

-- name: change
-- The last change in a scope.
SELECT change FROM semantic_scopes WHERE tenant = ?1 AND scope = ?2;

-- name: news
-- Answers of a scope that came or changed.
SELECT a.id, a.question, b.vector, a.wrong, a.expires_at - ?5, a.change
FROM semantic_answers AS a JOIN semantic_bodies AS b ON b.answer = a.number
WHERE a.tenant = ?1 AND a.scope = ?2 AND a.change > ?3 AND a.expires_at > ?5
ORDER BY a.change LIMIT ?4;

-- name: take
-- One answer.
SELECT b.value, a.question, a.wrong, ?3 - a.created_at
FROM semantic_answers AS a JOIN semantic_bodies AS b ON b.answer = a.number
WHERE a.tenant = ?1 AND a.id = ?2 AND a.expires_at > ?3;

-- name: next_change
-- One more change in a scope.
INSERT INTO semantic_scopes (tenant, scope, change) VALUES (?1, ?2, 1)
ON CONFLICT (tenant, scope) DO UPDATE SET change = change + 1 RETURNING change;

-- name: put
-- Keep an answer, in the place of the last one to the same question.
INSERT INTO semantic_answers (tenant, id, scope, change, question, wrong, created_at, expires_at, used_at)
VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7, ?6)
ON CONFLICT (tenant, id) DO UPDATE SET
    scope = excluded.scope, change = excluded.change, question = excluded.question, wrong = 0,
    created_at = excluded.created_at, expires_at = excluded.expires_at, used_at = excluded.used_at
RETURNING number;

-- name: put_body
-- The large part of an answer.
INSERT INTO semantic_bodies (answer, vector, value) VALUES (?1, ?2, ?3)
ON CONFLICT (answer) DO UPDATE SET vector = excluded.vector, value = excluded.value;

-- name: forget_tags
-- An answer's tags before it was kept anew.
DELETE FROM semantic_tags WHERE answer = ?1;

-- name: put_tag
-- A name under which an answer can be thrown away.
INSERT INTO semantic_tags (tenant, tag, answer) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING;

-- name: extent
-- How many answers a scope has.
SELECT count(*) FROM semantic_answers WHERE tenant = ?1 AND scope = ?2;

-- name: evict
-- What was not used for the longest time goes.
DELETE FROM semantic_answers WHERE number IN (
    SELECT number FROM semantic_answers WHERE tenant = ?1 AND scope = ?2 ORDER BY used_at, number LIMIT ?3);

-- name: know_route
-- Name a route.
INSERT INTO semantic_routes (tenant, route, model, embedder) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING;

-- name: label
-- A kept answer was compared with a new one.
INSERT INTO semantic_labels (tenant, route, at, score, step, same, audited, question, kept)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9);

-- name: scope_of
-- Where an answer is, and how wrong it is known to be.
SELECT scope, wrong FROM semantic_answers WHERE tenant = ?1 AND id = ?2;

-- name: mark_wrong
-- At this likeness it was wrong.
UPDATE semantic_answers SET wrong = ?3, change = ?4 WHERE tenant = ?1 AND id = ?2;

-- name: route
-- When and why a route began anew.
SELECT since, reason, after FROM semantic_routes WHERE tenant = ?1 AND route = ?2;

-- name: bins
-- Labels of a route by their step.
SELECT step, count(*), sum(same = 0) FROM semantic_labels
WHERE tenant = ?1 AND route = ?2 AND number > ?3 GROUP BY step ORDER BY step DESC;

-- name: audits
-- The latest audits of a route.
SELECT count(*), coalesce(sum(same = 0), 0) FROM (
    SELECT same FROM semantic_labels WHERE tenant = ?1 AND route = ?2 AND number > ?3 AND audited ORDER BY number DESC LIMIT ?4);

-- name: restart
-- Evidence until now counts no longer.
UPDATE semantic_routes SET since = ?3, reason = ?4,
    after = coalesce((SELECT max(number) FROM semantic_labels WHERE tenant = ?1 AND route = ?2), 0)
WHERE tenant = ?1 AND route = ?2;

-- name: tally
-- Count.
UPDATE semantic_routes SET hits = hits + ?3, misses = misses + ?4, saved_usd = saved_usd + ?5 WHERE tenant = ?1 AND route = ?2;

-- name: used
-- An answer was given.
UPDATE semantic_answers SET used_at = ?1 WHERE tenant = ?2 AND id = ?3;

-- name: routes
-- The routes of a tenant.
SELECT route, model, embedder, hits, misses, saved_usd FROM semantic_routes WHERE tenant = ?1 ORDER BY hits DESC, route LIMIT 200;

-- name: wrongs
-- The latest wrong ones.
SELECT at, route, score, audited, question, kept FROM semantic_labels WHERE tenant = ?1 AND same = 0 ORDER BY number DESC LIMIT ?2;

-- name: count
-- How many answers a tenant has.
SELECT count(*) FROM semantic_answers WHERE tenant = ?1 AND expires_at > ?2;

-- name: clear
-- All answers of a tenant.
DELETE FROM semantic_answers WHERE tenant = ?1;

-- name: clear_tag
-- Answers under one tag.
DELETE FROM semantic_answers WHERE number IN (SELECT answer FROM semantic_tags WHERE tenant = ?1 AND tag = ?2);

-- name: next_generation
-- What was asked before this is not kept after it.
INSERT INTO semantic_generations (tenant, generation) VALUES (?1, 1)
ON CONFLICT (tenant) DO UPDATE SET generation = generation + 1;

-- name: expire
-- Answers past their time.
DELETE FROM semantic_answers WHERE number IN (
    SELECT number FROM semantic_answers WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2);

-- name: forget_labels
-- The oldest labels of a route that has too many.
DELETE FROM semantic_labels WHERE tenant = ?1 AND route = ?2 AND number <= (
    SELECT number FROM semantic_labels WHERE tenant = ?1 AND route = ?2 ORDER BY number DESC LIMIT 1 OFFSET ?3);

-- name: long_routes
-- Routes with too many labels.
SELECT tenant, route FROM semantic_labels GROUP BY tenant, route HAVING count(*) > ?1;
