-- name: by_ids
-- Which of these jobs are there already, and how they stand.
SELECT jobs.id, jobs.tenant, coalesce(
    status, CASE state WHEN 'ready' THEN 'queued' WHEN 'parked' THEN 'queued' ELSE state END
)
FROM json_each(?1) AS asked CROSS JOIN jobs ON jobs.id = asked.value LEFT JOIN job_queue USING (number);

-- name: request
-- The job that an idempotency key stands for, while it is remembered.
SELECT fingerprint, jobs.id, coalesce(
    status, CASE state WHEN 'ready' THEN 'queued' WHEN 'parked' THEN 'queued' ELSE state END
)
FROM job_requests CROSS JOIN jobs ON jobs.id = job_requests.job_id LEFT JOIN job_queue USING (number)
WHERE job_requests.tenant = ?1 AND job_requests.key = ?2 AND job_requests.expires_at > ?3;

-- name: remember
-- Remember an idempotency key.
INSERT INTO job_requests (tenant, key, fingerprint, job_id, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT DO UPDATE SET
    fingerprint = excluded.fingerprint, job_id = excluded.job_id, expires_at = excluded.expires_at;

-- name: open
-- How many jobs are open in a queue.
SELECT open FROM job_queues WHERE queue = ?1;

-- name: last_number
-- The number that was given last.
SELECT coalesce(max(number), 0) FROM jobs;

-- name: insert_job
-- Keep what was asked for. Empty texts and endless numbers stand for nothing.
INSERT INTO jobs (
    number, id, created_at, deadline_at, tenant, agent, version, session_id, user_id, tier, queue, priority, fairness_key,
    weight, concurrency_key, concurrency_limit, deadline_s, timeout_s, max_attempts, backoff, tags, batch_id, callback,
    traceparent, input, roles, scope
) VALUES (
    ?1, ?2, ?3, nullif(?4, 9e999), ?5, ?6, ?7, nullif(?8, ''), nullif(?9, ''), ?10, ?11, ?12, ?13, ?14,
    nullif(?15, ''), ?16, nullif(?17, 9e999), nullif(?18, 9e999), ?19, nullif(?20, ''), nullif(?21, ''),
    nullif(?22, ''), nullif(?23, ''), ?24, ?25, nullif(?26, ''), nullif(?27, '')
);

-- name: insert_queued
-- Put a job into the queue. Empty texts and endless numbers stand for nothing.
INSERT INTO job_queue (
    number, state, pass, since, due_at, deadline_at, id, tenant, agent, queue, rank, fairness_key, weight,
    concurrency_key, concurrency_limit, max_attempts, has_callback
) VALUES (
    ?1, ?2, nullif(?3, 9e999), ?4, nullif(?5, 9e999), nullif(?6, 9e999), ?7, ?8, ?9, ?10, ?11, ?12, ?13,
    nullif(?14, ''), ?15, ?16, ?17
);
