-- name: take
-- Claim what is due; tokens begin with the name of the call.
WITH due AS (
    SELECT id FROM corral.job_outbox WHERE status = 'pending' AND next_at <= (SELECT corral.now())
    ORDER BY next_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE corral.job_outbox AS delivery
SET token = $3 || '.' || delivery.id, attempts = attempts + 1, next_at = corral.now() + $2
WHERE id = ANY (ARRAY(SELECT id FROM due))
RETURNING id, token, tenant, job_id, callback, status, attempts, created_at, next_at, answer;

-- name: next_due
-- In how many seconds the next one is due.
SELECT min(next_at) - corral.now() FROM corral.job_outbox WHERE status = 'pending';

-- name: settle
-- Note outcomes of who holds it; and name those who said so before, which changes nothing.
WITH outcome AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::double precision[])
        AS one(id, token, status, answer, retry_in_s)
), held AS MATERIALIZED (
    SELECT delivery.id FROM corral.job_outbox AS delivery
    WHERE id = ANY ($1) ORDER BY id FOR UPDATE
)
UPDATE corral.job_outbox AS delivery SET
    status = CASE delivery.token WHEN '' THEN delivery.status ELSE outcome.status END,
    answer = CASE delivery.token WHEN '' THEN delivery.answer ELSE outcome.answer END,
    next_at = CASE delivery.token WHEN '' THEN next_at ELSE corral.now() + coalesce(outcome.retry_in_s, 0) END,
    settled = outcome.token, token = ''
FROM outcome, held
WHERE delivery.id = outcome.id AND held.id = outcome.id
  AND (delivery.token = outcome.token OR delivery.token = '' AND delivery.settled = outcome.token)
RETURNING delivery.settled;

-- name: deliveries
-- What is to be sent and what was, newest first.
SELECT id, '', tenant, job_id, callback, status, attempts, created_at, next_at, answer FROM corral.job_outbox
WHERE tenant = $1 ORDER BY created_at DESC, id DESC LIMIT $2;

-- name: deliveries_of_job
-- What is to be sent about a job and what was, newest first.
SELECT id, '', tenant, job_id, callback, status, attempts, created_at, next_at, answer FROM corral.job_outbox
WHERE job_id = $3 AND tenant = $1 ORDER BY created_at DESC, id DESC LIMIT $2;

-- name: replay
-- Send once more, from now.
WITH again AS (
    UPDATE corral.job_outbox SET status = 'pending', next_at = corral.now(), token = '', attempts = 0
    WHERE id = $2 AND tenant = $1 RETURNING 1
) SELECT pg_notify('corral_jobs', 'o') FROM again;
