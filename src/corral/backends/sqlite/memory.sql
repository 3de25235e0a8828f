-- name: namespaces
-- The namespaces that a view includes, those last changed first.
SELECT number, tenant, space, scope, owner, name, items, chunks, words, drops, updated_at FROM memory_namespaces
WHERE space = :space AND (:name IS NULL OR name = :name)
  AND (:prefix IS NULL OR substr(name, 1, length(:prefix)) = :prefix)
  AND (:scopes IS NULL OR scope IN (SELECT value FROM json_each(:scopes)))
  AND ((tenant = :tenant AND :tenant <> '' AND (:whole OR audience IN (SELECT value FROM json_each(:audiences))))
    OR (tenant = '' AND :public))
ORDER BY updated_at DESC, number DESC LIMIT :limit;

-- name: listed_namespaces
-- The same by name, those alone in which something is.
SELECT number, tenant, space, scope, owner, name, items, chunks, words, drops, updated_at FROM memory_namespaces
WHERE space = :space AND (:name IS NULL OR name = :name)
  AND (:prefix IS NULL OR substr(name, 1, length(:prefix)) = :prefix)
  AND (:scopes IS NULL OR scope IN (SELECT value FROM json_each(:scopes)))
  AND ((tenant = :tenant AND :tenant <> '' AND (:whole OR audience IN (SELECT value FROM json_each(:audiences))))
    OR (tenant = '' AND :public))
  AND items > 0
ORDER BY name, audience LIMIT :limit;

-- name: use_namespace
-- The number of a namespace, which is made when it is new.
INSERT INTO memory_namespaces (tenant, space, scope, owner, audience, name, updated_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
ON CONFLICT (tenant, space, audience, name) DO UPDATE SET updated_at = excluded.updated_at
RETURNING number;

-- name: item_of
-- What has an id, and where it is.
SELECT i.number, i.namespace, i.version, i.digest, i.chunks, i.kind, n.scope, n.owner, n.name,
    i.expires_at IS NOT NULL AND i.expires_at <= ?4
FROM memory_items AS i JOIN memory_namespaces AS n ON n.number = i.namespace
WHERE i.tenant = ?1 AND i.space = ?2 AND i.id = ?3;

-- name: items_of
-- One item, where the view includes its namespace.
SELECT i.number, i.tenant, i.space, n.scope, n.owner, n.name, i.id, i.kind, i.title, i.source, i.metadata, i.strategy,
    i.events, i.at, i.created_at, i.updated_at, i.expires_at, i.version, i.chunks, i.digest,
    CASE i.kind WHEN 'record' THEN (
        SELECT t.text FROM memory_chunks AS c JOIN memory_texts AS t ON t.chunk = c.number
        WHERE c.item = i.number ORDER BY c.ordinal LIMIT 1) ELSE '' END
FROM memory_items AS i JOIN memory_namespaces AS n ON n.number = i.namespace
WHERE i.space = :space AND i.id = :id AND i.tenant IN (:tenant, '') AND (i.expires_at IS NULL OR i.expires_at > :now)
  AND ((i.tenant = :tenant AND :tenant <> '' AND (:whole OR n.audience IN (SELECT value FROM json_each(:audiences))))
    OR (i.tenant = '' AND :public))
ORDER BY i.tenant DESC LIMIT 1;

-- name: listed
-- Items of one namespace, those last changed first.
SELECT i.number, i.tenant, i.space, n.scope, n.owner, n.name, i.id, i.kind, i.title, i.source, i.metadata, i.strategy,
    i.events, i.at, i.created_at, i.updated_at, i.expires_at, i.version, i.chunks, i.digest,
    CASE i.kind WHEN 'record' THEN (
        SELECT t.text FROM memory_chunks AS c JOIN memory_texts AS t ON t.chunk = c.number
        WHERE c.item = i.number ORDER BY c.ordinal LIMIT 1) ELSE '' END
FROM memory_items AS i JOIN memory_namespaces AS n ON n.number = i.namespace
WHERE i.namespace = :namespace AND (i.expires_at IS NULL OR i.expires_at > :now)
  AND (:before_at IS NULL OR (i.updated_at, i.number) < (:before_at, :before_number))
  AND (:kinds IS NULL OR i.kind IN (SELECT value FROM json_each(:kinds)))
  AND (:strategy IS NULL OR i.strategy = :strategy) AND (:source IS NULL OR i.source = :source)
ORDER BY i.updated_at DESC, i.number DESC LIMIT :limit;

-- name: make_item
-- A new item.
INSERT INTO memory_items (tenant, space, id, namespace, kind, title, source, metadata, strategy, events, at, created_at,
    updated_at, expires_at, version, chunks, digest)
VALUES (:tenant, :space, :id, :namespace, :kind, :title, :source, :metadata, :strategy, :events, coalesce(:at, :now), :now,
    :now, :expires_at, 1, :chunks, :digest)
RETURNING number;

-- name: change_item
-- An item in the place of the one before.
UPDATE memory_items SET namespace = :namespace, kind = :kind, title = :title, source = :source, metadata = :metadata,
    strategy = :strategy, events = :events, at = coalesce(:at, at), updated_at = max(:now, updated_at),
    expires_at = :expires_at, version = version + 1, chunks = :chunks, digest = :digest
WHERE number = :number;

-- name: longer_life
-- The same again: it is kept for longer.
UPDATE memory_items SET expires_at = ?2 WHERE number = ?1;

-- name: lengthen
-- A log has grown.
UPDATE memory_items SET chunks = chunks + ?2, version = version + 1, updated_at = max(updated_at, ?3),
    expires_at = coalesce(?4, expires_at)
WHERE number = ?1 RETURNING version;

-- name: end_of
-- The place behind an item's last chunk.
SELECT coalesce(max(ordinal) + 1, 0) FROM memory_chunks WHERE item = ?1;

-- name: chunk_ids
-- An item's chunks, by what they are called.
SELECT t.id, c.number FROM memory_chunks AS c JOIN memory_texts AS t ON t.chunk = c.number WHERE c.item = ?1
ORDER BY c.ordinal DESC;

-- name: place_chunk
-- A chunk that stays, perhaps in another place.
UPDATE memory_chunks SET ordinal = ?2 WHERE number = ?1;

-- name: place_text
-- Where its text begins.
UPDATE memory_texts SET start = ?2 WHERE chunk = ?1;

-- name: add_chunk
-- A new chunk.
INSERT INTO memory_chunks (namespace, item, ordinal, words) VALUES (?1, ?2, ?3, ?4) RETURNING number;

-- name: add_text
-- Its text.
INSERT INTO memory_texts (chunk, id, text, place, start, terms) VALUES (?1, ?2, ?3, ?4, ?5, ?6);

-- name: drop_chunk
-- A chunk that is there no longer.
DELETE FROM memory_chunks WHERE number = ?1;

-- name: drop_item
-- An item, with all that hangs on it.
DELETE FROM memory_items WHERE number = ?1;

-- name: erase
-- Everything of a tenant, an audience or a space.
DELETE FROM memory_items WHERE number IN (
    SELECT i.number FROM memory_items AS i JOIN memory_namespaces AS n ON n.number = i.namespace
    WHERE n.tenant = ?1 AND (?2 IS NULL OR n.audience = ?2) AND (?3 IS NULL OR n.space = ?3));

-- name: drop_namespaces
-- The namespaces in which nothing is left.
DELETE FROM memory_namespaces
WHERE tenant = ?1 AND (?2 IS NULL OR audience = ?2) AND (?3 IS NULL OR space = ?3) AND items = 0;

-- name: chunks
-- Chunks of an item, in order.
SELECT t.id, c.ordinal, t.text, t.place, t.start FROM memory_chunks AS c JOIN memory_texts AS t ON t.chunk = c.number
WHERE c.item = ?1 AND c.ordinal >= ?2 ORDER BY c.ordinal LIMIT ?3;

-- name: bare
-- Chunks without a vector of a model.
SELECT c.number, t.text FROM memory_namespaces AS n JOIN memory_items AS i ON i.namespace = n.number
JOIN memory_chunks AS c ON c.item = i.number JOIN memory_texts AS t ON t.chunk = c.number
WHERE n.tenant = ?1 AND n.space = ?2 AND (?3 IS NULL OR i.id = ?3)
  AND NOT EXISTS (SELECT 1 FROM memory_vectors AS v WHERE v.chunk = c.number AND v.model = ?4)
ORDER BY c.number LIMIT ?5;

-- name: embed
-- The vector of a chunk that is still there.
INSERT INTO memory_vectors (namespace, model, chunk, vector)
SELECT c.namespace, ?1, c.number, ?3 FROM memory_chunks AS c JOIN memory_namespaces AS n ON n.number = c.namespace
WHERE c.number = ?2 AND n.tenant = ?4
ON CONFLICT DO NOTHING;

-- name: forget_vectors
-- Vectors of all models but one.
DELETE FROM memory_vectors WHERE (?2 IS NULL OR model <> ?2)
  AND namespace IN (SELECT number FROM memory_namespaces WHERE tenant = ?1);

-- name: vectors_dropped
-- Who keeps vectors in memory reads them anew.
UPDATE memory_namespaces SET drops = drops + 1 WHERE tenant = ?1;

-- name: expired
-- Items past their time.
SELECT number FROM memory_items WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2;
