-- name: read
-- The summaries of a session.
SELECT summary FROM corral.context_summaries WHERE tenant = $1 AND session_id = $2;

-- name: keep
-- One more, if the session is there, and all but the newest few go.
WITH kept AS (
    INSERT INTO corral.context_summaries (tenant, session_id, digest, created_at, summary)
    SELECT $1, $2, $3, corral.now(), $4 FROM corral.sessions
    WHERE tenant = $1 AND session_id = $2 AND (expires_at IS NULL OR expires_at > corral.now())
    ON CONFLICT DO NOTHING
)
DELETE FROM corral.context_summaries WHERE tenant = $1 AND session_id = $2 AND digest IN (
    SELECT digest FROM corral.context_summaries WHERE tenant = $1 AND session_id = $2 AND digest <> $3
    ORDER BY created_at DESC, digest OFFSET $5
);
