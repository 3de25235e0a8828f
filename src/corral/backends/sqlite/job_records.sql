-- name: get
-- One job, whole.
SELECT number, jobs.id, jobs.tenant, jobs.agent, version,
    coalesce(status, CASE state WHEN 'ready' THEN 'queued' WHEN 'parked' THEN 'queued' ELSE state END),
    jobs.queue, priority, session_id, user_id, tags, batch_id, coalesce(job_queue.attempt, jobs.attempt),
    coalesce(job_queue.failures, jobs.failures), jobs.max_attempts, created_at, job_queue.due_at,
    coalesce(job_queue.started_at, jobs.started_at), finished_at, jobs.deadline_at,
    coalesce(job_queue.worker, jobs.worker), cancel, awaits, job_progress.data, error, callback,
    coalesce(job_queue.last_seq, jobs.last_seq), input, result
FROM jobs LEFT JOIN job_queue USING (number) LEFT JOIN job_progress ON job = number
WHERE jobs.id = ?1 AND jobs.tenant = ?2;

-- name: events
-- Events of a job after a number, in order.
SELECT id & 4294967295, attempt, kind, at, data FROM job_events
WHERE id > (SELECT (number << 32) + min(max(?3, 0), 4294967295) FROM jobs WHERE id = ?1 AND tenant = ?2)
  AND id < (SELECT (number + 1) << 32 FROM jobs WHERE id = ?1 AND tenant = ?2)
ORDER BY id LIMIT ?4;

-- name: attempts
-- The attempts of a job that did not end well, oldest first.
SELECT attempt, worker, started_at, ended_at, error FROM job_attempts
WHERE job = (SELECT number FROM jobs WHERE id = ?1 AND tenant = ?2) ORDER BY attempt;

-- name: named
-- A tenant's jobs whose ids begin so. Ids begin with the time, so those of all tenants stand together: a few are looked at.
SELECT id FROM (SELECT id, tenant FROM jobs WHERE id >= ?2 AND id < ?3 ORDER BY id LIMIT ?4) WHERE tenant = ?1 LIMIT 2;

-- name: queues
-- How many jobs of each queue are open, and how they stand; also of those that are empty since a short while.
WITH put_off AS (
    SELECT queue, state, count(*) AS jobs FROM job_queue INDEXED BY job_queue_due
    WHERE state IN ('scheduled', 'waiting') GROUP BY queue, state
),
running AS (
    SELECT queue, count(*) AS jobs FROM job_queue INDEXED BY job_queue_leases WHERE state = 'running' GROUP BY queue
)
SELECT queue, open,
    coalesce((SELECT jobs FROM put_off WHERE put_off.queue = job_queues.queue AND state = 'scheduled'), 0),
    coalesce((SELECT jobs FROM running WHERE running.queue = job_queues.queue), 0),
    coalesce((SELECT jobs FROM put_off WHERE put_off.queue = job_queues.queue AND state = 'waiting'), 0),
    (
        SELECT min(since) FROM (
            SELECT since FROM job_queue INDEXED BY job_queue_ready
            WHERE state = 'ready' AND queue = job_queues.queue LIMIT 10000
        )
    )
FROM job_queues WHERE open > 0 OR used_at > ?1 ORDER BY queue;

-- name: depth
-- How many jobs of a queue are open.
SELECT open FROM job_queues WHERE queue = ?1;

-- name: workers
-- The workers that were heard of since then.
SELECT seen_at, info FROM job_workers WHERE seen_at >= ?1 ORDER BY worker;

-- name: create_batch
-- Note a batch, once.
INSERT INTO job_batches (tenant, id, total, created_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING;

-- name: batch
-- One batch.
SELECT total, created_at FROM job_batches WHERE tenant = ?1 AND id = ?2;

-- name: batch_counts
-- How the jobs of a batch stand.
SELECT coalesce(status, CASE state WHEN 'ready' THEN 'queued' WHEN 'parked' THEN 'queued' ELSE state END), count(*)
FROM jobs INDEXED BY jobs_by_batch LEFT JOIN job_queue USING (number)
WHERE jobs.tenant = ?1 AND batch_id = ?2 GROUP BY 1;

-- name: ended
-- Those among these jobs that have ended in one of these ways.
SELECT number, jobs.id, status FROM json_each(?1) AS asked CROSS JOIN jobs ON number = asked.value
WHERE status IN (SELECT value FROM json_each(?2)) ORDER BY number;

-- name: reopen
-- An ended job is open again.
UPDATE jobs SET status = NULL, finished_at = NULL, worker = NULL, error = NULL, result = NULL, input = coalesce(?2, input),
    has_journal = CASE WHEN ?2 IS NULL THEN has_journal ELSE 0 END, deadline_at = ?3 + deadline_s
WHERE number = ?1;

-- name: drop_journal
-- Empty a job's journal.
DELETE FROM job_steps WHERE job = ?1;

-- name: queue_reopened
-- Put a job that is open again into the queue; it is made ready next.
INSERT INTO job_queue (
    number, state, since, deadline_at, started_at, id, tenant, agent, queue, rank, fairness_key, weight, concurrency_key,
    concurrency_limit, attempt, max_attempts, has_callback, has_journal, last_seq
)
SELECT number, 'scheduled', ?2, deadline_at, started_at, id, tenant, agent, queue, 10 - priority, fairness_key, weight,
    concurrency_key, concurrency_limit, attempt, max_attempts, callback IS NOT NULL, has_journal, last_seq
FROM jobs WHERE number = ?1
RETURNING number, id, tenant, queue, rank, state, token, attempt, failures, max_attempts, worker, started_at,
    deadline_at, fairness_key, weight, concurrency_key, cancel, has_callback, has_journal, last_seq, awaits;

-- name: discard
-- Put a failed job away.
UPDATE jobs SET status = 'discarded' WHERE number = ?1;

-- name: oldest
-- The oldest jobs from a number on: when they were created, and whether they may go: ended, with nothing to be sent still.
SELECT number, id, tenant, created_at, status IS NOT NULL AND (callback IS NULL OR NOT EXISTS (
    SELECT 1 FROM job_outbox INDEXED BY job_outbox_by_job
    WHERE job = jobs.number AND job_outbox.status = 'pending' AND job_outbox.created_at >= ?3
))
FROM jobs WHERE number > ?1 ORDER BY number LIMIT ?2;

-- name: forget_job
-- Remove a job.
DELETE FROM jobs WHERE number = ?1;

-- name: forget_steps
-- Remove a job's journal.
DELETE FROM job_steps WHERE job = ?1;

-- name: forget_events
-- Remove a job's log.
DELETE FROM job_events WHERE id > ?1 << 32 AND id < (?1 + 1) << 32;

-- name: forget_progress
-- Remove how far a job was.
DELETE FROM job_progress WHERE job = ?1;

-- name: forget_attempts
-- Remove a job's attempts.
DELETE FROM job_attempts WHERE job = ?1;

-- name: forget_callbacks
-- Remove a job's callbacks.
DELETE FROM job_outbox WHERE job = ?1;

-- name: forget_blobs
-- Remove the large values of a job: their names begin with its id.
DELETE FROM blobs WHERE tenant = ?1 AND name > ?2 || '/' AND name < ?2 || '0';

-- name: forget_batches
-- Remove batches without jobs.
DELETE FROM job_batches WHERE (tenant, id) IN (
    SELECT tenant, id FROM job_batches WHERE created_at < ?1 AND NOT EXISTS (
        SELECT 1 FROM jobs WHERE jobs.tenant = job_batches.tenant AND batch_id = job_batches.id
    )
    LIMIT ?2
);
