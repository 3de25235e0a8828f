-- name: lapsed
-- Running jobs whose lease is over.
SELECT number, id, tenant, queue, rank, state, token, attempt, failures, max_attempts, worker, started_at, deadline_at,
    fairness_key, weight, concurrency_key, cancel, has_callback, has_journal, last_seq, awaits
FROM job_queue INDEXED BY job_queue_leases
WHERE state = 'running' AND lease_until <= ?1 ORDER BY lease_until LIMIT ?2;

-- name: late
-- Jobs past their deadline that nobody runs.
SELECT number, id, tenant, queue, rank, state, token, attempt, failures, max_attempts, worker, started_at, deadline_at,
    fairness_key, weight, concurrency_key, cancel, has_callback, has_journal, last_seq, awaits
FROM job_queue INDEXED BY job_queue_deadlines
WHERE deadline_at <= ?1 AND state <> 'running' ORDER BY deadline_at LIMIT ?2;

-- name: ranks
-- The ranks from which jobs can still rise, the best first: nobody rises twice in a sweep.
SELECT queue, rank FROM job_ranks WHERE rank > 0 AND EXISTS (
    SELECT 1 FROM job_queue INDEXED BY job_queue_ready
    WHERE state = 'ready' AND job_queue.queue = job_ranks.queue AND job_queue.rank = job_ranks.rank
)
ORDER BY rank, queue;

-- name: old
-- Those among the next jobs of a rank that wait for long.
SELECT number, tenant, fairness_key, weight FROM (
    SELECT number, tenant, fairness_key, weight, since FROM job_queue INDEXED BY job_queue_ready
    WHERE state = 'ready' AND queue = ?1 AND rank = ?2 ORDER BY pass, number LIMIT ?3
)
WHERE since <= ?4;

-- name: age
-- Put a job up a rank.
UPDATE job_queue SET rank = ?1, pass = ?2, since = ?3 WHERE number = ?4;

-- name: age_parked
-- Put those up a rank that wait for a slot for long.
UPDATE job_queue SET rank = rank - 1, since = ?1 WHERE number IN (
    SELECT number FROM job_queue INDEXED BY job_queue_parked
    WHERE state = 'parked' AND rank > 0 AND since <= ?2 ORDER BY since LIMIT ?3
);

-- name: forget_requests
-- Forget idempotency keys past their time.
DELETE FROM job_requests WHERE (tenant, key) IN (
    SELECT tenant, key FROM job_requests WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2
);

-- name: forget_workers
-- Forget workers that were not heard of for long.
DELETE FROM job_workers WHERE seen_at <= ?1;

-- name: forget_queues
-- Forget queues that nobody used for long.
DELETE FROM job_queues WHERE open = 0 AND used_at <= ?1;

-- name: all_ranks
-- Every rank of every queue in which something was ready lately.
SELECT queue, rank FROM job_ranks;

-- name: forget_lanes
-- Forget lanes that have fallen behind their rank: they would begin at its head all the same.
DELETE FROM job_lanes WHERE (queue, rank, tenant, fairness_key) IN (
    SELECT queue, rank, tenant, fairness_key FROM job_lanes
    WHERE queue = ?1 AND rank = ?2 AND pass <= coalesce(
        (
            SELECT pass FROM job_queue INDEXED BY job_queue_ready
            WHERE state = 'ready' AND queue = ?1 AND rank = ?2 ORDER BY pass LIMIT 1
        ),
        (SELECT top FROM job_ranks WHERE queue = ?1 AND rank = ?2)
    )
    LIMIT ?3
);
