-- name: running
-- Running jobs by number, as far as their next step depends on it.
SELECT number, job_queue.id, tenant, queue, rank, state, token, attempt, failures, max_attempts, worker, started_at, deadline_at,
    fairness_key, weight, concurrency_key, cancel, has_callback, has_journal, last_seq, awaits
FROM json_each(?1) AS asked CROSS JOIN job_queue ON job_queue.number = asked.value
WHERE state = 'running';

-- name: first_due
-- When the next job that waits for a time is due.
SELECT due_at FROM job_queue INDEXED BY job_queue_due
WHERE state IN ('scheduled', 'waiting') AND due_at IS NOT NULL ORDER BY due_at LIMIT 1;

-- name: due
-- The jobs that are due now.
SELECT number, id, tenant, queue, rank, state, token, attempt, failures, max_attempts, worker, started_at, deadline_at,
    fairness_key, weight, concurrency_key, cancel, has_callback, has_journal, last_seq, awaits
FROM job_queue INDEXED BY job_queue_due
WHERE state IN ('scheduled', 'waiting') AND due_at <= ?1 ORDER BY due_at, number LIMIT ?2;

-- name: groups
-- In which ranks of which queues something is ready, the most urgent first.
SELECT rank, queue FROM job_ranks
WHERE (?1 IS NULL OR queue IN (SELECT value FROM json_each(?1))) AND EXISTS (
    SELECT 1 FROM job_queue INDEXED BY job_queue_ready
    WHERE state = 'ready' AND job_queue.queue = job_ranks.queue AND job_queue.rank = job_ranks.rank
)
ORDER BY rank, queue;

-- name: walk
-- The next jobs of one rank of a queue, with what a worker needs.
SELECT number, job_queue.id, job_queue.tenant, job_queue.agent, input, version, session_id, user_id, tier,
    job_queue.queue, priority, job_queue.attempt, job_queue.failures, job_queue.max_attempts, backoff, timeout_s,
    job_queue.deadline_at, created_at, job_queue.has_journal, tags, traceparent, roles, scope
FROM job_queue INDEXED BY job_queue_ready CROSS JOIN jobs USING (number)
WHERE state = 'ready' AND job_queue.queue = ?1 AND rank = ?2
  AND (job_queue.deadline_at IS NULL OR job_queue.deadline_at > ?3)
ORDER BY pass, number LIMIT ?4;

-- name: walk_excluding
-- The next jobs of one rank of a queue, without those of some agents.
SELECT number, job_queue.id, job_queue.tenant, job_queue.agent, input, version, session_id, user_id, tier,
    job_queue.queue, priority, job_queue.attempt, job_queue.failures, job_queue.max_attempts, backoff, timeout_s,
    job_queue.deadline_at, created_at, job_queue.has_journal, tags, traceparent, roles, scope
FROM job_queue INDEXED BY job_queue_ready CROSS JOIN jobs USING (number)
WHERE state = 'ready' AND job_queue.queue = ?1 AND rank = ?2
  AND (job_queue.deadline_at IS NULL OR job_queue.deadline_at > ?3)
  AND job_queue.agent NOT IN (SELECT value FROM json_each(?5))
ORDER BY pass, number LIMIT ?4;

-- name: take
-- Hand jobs to a worker, for a while.
UPDATE job_queue SET state = 'running', token = ?1, worker = ?2, lease_until = ?3, started_at = ?4, since = ?4,
    attempt = attempt + 1
WHERE number IN (SELECT value FROM json_each(?5));
