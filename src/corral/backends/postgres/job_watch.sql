-- name: follow
-- Want to be notified of these jobs, for a while.
INSERT INTO corral.job_follows (job_id, expires_at)
SELECT job_id, corral.now() + $2 FROM unnest($1::text[]) AS one(job_id) ORDER BY job_id
ON CONFLICT (job_id) DO UPDATE SET expires_at = excluded.expires_at;
