-- name: tops
-- The highest pass given in each rank of each queue: it rises whenever something gets ready.
SELECT queue, rank, top FROM job_ranks;

-- name: first_due
-- When the next job that waits for a time is due.
SELECT due_at FROM job_queue INDEXED BY job_queue_due
WHERE state IN ('scheduled', 'waiting') AND due_at IS NOT NULL ORDER BY due_at LIMIT 1;

-- name: outbox
-- The newest callback, and when the next one is due.
SELECT
    coalesce((SELECT max(number) FROM job_outbox), 0),
    coalesce((SELECT min(next_at) FROM job_outbox INDEXED BY job_outbox_due WHERE status = 'pending'), 9e99);

-- name: ends
-- Those of these jobs that have ended, whole.
SELECT number, jobs.id, tenant, agent, version, status, queue, priority, session_id, user_id, tags, batch_id, attempt,
    failures, max_attempts, created_at, NULL, started_at, finished_at, deadline_at, worker, 0, '', job_progress.data, error,
    callback, last_seq, input, result
FROM json_each(?1) AS asked CROSS JOIN jobs ON jobs.id = asked.value LEFT JOIN job_progress ON job = number
WHERE status IS NOT NULL;

-- name: looks
-- How jobs stand, and their newest events; and how executions (`x:`) and the work of activities (`a:`) do.
SELECT jobs.id,
    coalesce(job_queue.attempt || state || cancel, status),
    coalesce(job_queue.last_seq, jobs.last_seq)
FROM json_each(?1) AS asked CROSS JOIN jobs ON jobs.id = asked.value LEFT JOIN job_queue USING (number)
UNION ALL
SELECT asked.value, executions.revision, 0 FROM json_each(?1) AS asked CROSS JOIN executions
    ON executions.tenant = substr(asked.value, instr(asked.value, char(10)) + 1)
    AND executions.id = substr(asked.value, 3, instr(asked.value, char(10)) - 3)
WHERE asked.value GLOB 'x:*'
UNION ALL
SELECT asked.value, (
    SELECT max(workflow_tasks.rowid) FROM workflow_tasks INDEXED BY workflow_tasks_to_fetch
    WHERE state = 'new' AND kind = 'activity' AND tenant = substr(asked.value, instr(asked.value, char(10)) + 1)
        AND resource = substr(asked.value, 3, instr(asked.value, char(10)) - 3)), 0
FROM json_each(?1) AS asked WHERE asked.value GLOB 'a:*';
