-- name: renew
-- Extend the leases of running jobs.
UPDATE job_queue SET lease_until = ?1 WHERE number IN (SELECT value FROM json_each(?2));

-- name: lives
-- Note that a worker lives.
INSERT INTO job_workers (worker, seen_at, info) VALUES (?1, ?2, ?3)
ON CONFLICT DO UPDATE SET seen_at = excluded.seen_at, info = excluded.info;

-- name: forget_worker
-- A worker has stopped.
DELETE FROM job_workers WHERE worker = ?1;

-- name: open_jobs
-- Open jobs by number, as far as their next step depends on it.
SELECT number, job_queue.id, tenant, queue, rank, state, token, attempt, failures, max_attempts, worker, started_at, deadline_at,
    fairness_key, weight, concurrency_key, cancel, has_callback, has_journal, last_seq, awaits
FROM json_each(?1) AS asked CROSS JOIN job_queue ON job_queue.number = asked.value;

-- name: ask_to_stop
-- Ask a running job to stop.
UPDATE job_queue SET cancel = 1 WHERE number = ?1;
