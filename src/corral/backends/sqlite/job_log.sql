-- name: write_step
-- Write a step, unless its key is there.
INSERT INTO job_steps (job, key, ordinal, kind, is_reference, failed, value) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
ON CONFLICT DO NOTHING;

-- name: has_journal
-- Note that a job has a journal.
UPDATE job_queue SET has_journal = 1 WHERE number = ?1;

-- name: steps
-- The journal of a job: its steps in order, signals last.
SELECT key, ordinal, kind, value, is_reference, failed FROM job_steps
WHERE job = (SELECT number FROM jobs WHERE id = ?1)
ORDER BY kind = 'signal', ordinal, length(key), key;

-- name: append
-- Append an event.
INSERT INTO job_events (id, attempt, kind, at, data) VALUES (?1, ?2, ?3, ?4, ?5);

-- name: move_log
-- Note the number of a job's newest event.
UPDATE job_queue SET last_seq = ?1 WHERE number = ?2;

-- name: progress
-- Keep how far a job says it is.
INSERT INTO job_progress (job, data) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET data = excluded.data;

-- name: trim
-- Remove a job's oldest events.
DELETE FROM job_events WHERE id > ?1 AND id <= ?2;

-- name: open_job
-- A job by its id, as far as its next step depends on it; nothing but nulls when it has ended.
SELECT job_queue.number, job_queue.id, job_queue.tenant, job_queue.queue, rank, state, token, job_queue.attempt,
    job_queue.failures, job_queue.max_attempts, job_queue.worker, job_queue.started_at, job_queue.deadline_at,
    job_queue.fairness_key, job_queue.weight, job_queue.concurrency_key, cancel, has_callback, job_queue.has_journal,
    job_queue.last_seq, awaits
FROM jobs LEFT JOIN job_queue USING (number) WHERE jobs.tenant = ?1 AND jobs.id = ?2;

-- name: signals
-- The signals of a name in a job's journal.
SELECT key FROM job_steps WHERE job = ?1 AND key > ?2 AND key < ?3;
