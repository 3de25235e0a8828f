-- name: take
-- Claim callbacks that are due, for a while; an attempt counts when it is begun.
UPDATE job_outbox SET token = ?1, next_at = ?2, attempts = attempts + 1
WHERE number IN (
    SELECT number FROM job_outbox INDEXED BY job_outbox_due
    WHERE status = 'pending' AND next_at <= ?3 ORDER BY next_at LIMIT ?4
)
RETURNING number, id, tenant, job_id, callback, status, attempts, created_at, next_at, answer;

-- name: first_due
-- When the next callback is due.
SELECT next_at FROM job_outbox INDEXED BY job_outbox_due WHERE status = 'pending' ORDER BY next_at LIMIT 1;

-- name: settle
-- Note what came of an attempt, if nobody else took the callback meanwhile.
UPDATE job_outbox SET status = ?1, next_at = ?2, answer = ?3, token = NULL WHERE id = ?4 AND token = ?5;

-- name: list
-- A tenant's callbacks, newest first.
SELECT number, id, tenant, job_id, callback, status, attempts, created_at, next_at, answer
FROM job_outbox INDEXED BY job_outbox_by_tenant WHERE tenant = ?1 ORDER BY number DESC LIMIT ?2;

-- name: list_of_job
-- A job's callbacks, newest first.
SELECT number, id, tenant, job_id, callback, status, attempts, created_at, next_at, answer
FROM job_outbox INDEXED BY job_outbox_by_job
WHERE tenant = ?1 AND job = (SELECT number FROM jobs WHERE id = ?3) ORDER BY number DESC LIMIT ?2;

-- name: replay
-- Send a callback once more, from now.
UPDATE job_outbox SET status = 'pending', next_at = ?1, token = NULL, attempts = 0 WHERE tenant = ?2 AND id = ?3;
