-- name: read
-- The summaries of a session.
SELECT summary FROM context_summaries WHERE tenant = ?1 AND session_id = ?2;

-- name: keep
-- One more, if the session is there.
INSERT INTO context_summaries (tenant, session_id, digest, created_at, summary)
SELECT :tenant, :session_id, :digest, :now, :summary WHERE EXISTS (
    SELECT 1 FROM sessions WHERE tenant = :tenant AND session_id = :session_id AND (expires_at IS NULL OR expires_at > :now)
) ON CONFLICT DO NOTHING;

-- name: thin
-- Leave the newest few of a session.
DELETE FROM context_summaries WHERE tenant = :tenant AND session_id = :session_id AND digest NOT IN (
    SELECT digest FROM context_summaries WHERE tenant = :tenant AND session_id = :session_id
    ORDER BY created_at DESC, digest LIMIT :most
);
