-- name: of_tenant
-- A tenant's jobs, through every filter that is given.
SELECT number FROM jobs INDEXED BY jobs_by_tenant LEFT JOIN job_queue USING (number)
WHERE jobs.tenant = :tenant
  AND number < :before
  AND (:status IS NULL OR coalesce(status, CASE state WHEN 'ready' THEN 'queued' WHEN 'parked' THEN 'queued' ELSE state END)
      IN (SELECT value FROM json_each(:status)))
  AND (:agent IS NULL OR jobs.agent = :agent)
  AND (:queue IS NULL OR jobs.queue = :queue)
  AND (:session_id IS NULL OR session_id = :session_id)
  AND (:user_id IS NULL OR user_id = :user_id)
  AND (:batch_id IS NULL OR batch_id = :batch_id)
  AND (:since IS NULL OR created_at >= :since)
  AND (:until IS NULL OR created_at < :until)
  AND (:tag IS NULL OR EXISTS (SELECT 1 FROM json_each(tags) AS tag WHERE tag.value = :tag))
ORDER BY number DESC LIMIT :limit;

-- name: of_failed
-- A tenant's dead letters, through every filter that is given.
SELECT number FROM jobs INDEXED BY jobs_that_failed LEFT JOIN job_queue USING (number)
WHERE jobs.tenant = :tenant AND status = 'failed'
  AND number < :before
  AND (:status IS NULL OR coalesce(status, CASE state WHEN 'ready' THEN 'queued' WHEN 'parked' THEN 'queued' ELSE state END)
      IN (SELECT value FROM json_each(:status)))
  AND (:agent IS NULL OR jobs.agent = :agent)
  AND (:queue IS NULL OR jobs.queue = :queue)
  AND (:session_id IS NULL OR session_id = :session_id)
  AND (:user_id IS NULL OR user_id = :user_id)
  AND (:batch_id IS NULL OR batch_id = :batch_id)
  AND (:since IS NULL OR created_at >= :since)
  AND (:until IS NULL OR created_at < :until)
  AND (:tag IS NULL OR EXISTS (SELECT 1 FROM json_each(tags) AS tag WHERE tag.value = :tag))
ORDER BY number DESC LIMIT :limit;

-- name: of_batch
-- The jobs of a batch, through every filter that is given.
SELECT number FROM jobs INDEXED BY jobs_by_batch LEFT JOIN job_queue USING (number)
WHERE jobs.tenant = :tenant AND batch_id = :batch_id
  AND number < :before
  AND (:status IS NULL OR coalesce(status, CASE state WHEN 'ready' THEN 'queued' WHEN 'parked' THEN 'queued' ELSE state END)
      IN (SELECT value FROM json_each(:status)))
  AND (:agent IS NULL OR jobs.agent = :agent)
  AND (:queue IS NULL OR jobs.queue = :queue)
  AND (:session_id IS NULL OR session_id = :session_id)
  AND (:user_id IS NULL OR user_id = :user_id)
  AND (:batch_id IS NULL OR batch_id = :batch_id)
  AND (:since IS NULL OR created_at >= :since)
  AND (:until IS NULL OR created_at < :until)
  AND (:tag IS NULL OR EXISTS (SELECT 1 FROM json_each(tags) AS tag WHERE tag.value = :tag))
ORDER BY number DESC LIMIT :limit;

-- name: of_open
-- A tenant's open jobs, through every filter that is given.
SELECT number FROM job_queue NOT INDEXED CROSS JOIN jobs USING (number)
WHERE job_queue.tenant = :tenant
  AND number < :before
  AND (:status IS NULL OR coalesce(status, CASE state WHEN 'ready' THEN 'queued' WHEN 'parked' THEN 'queued' ELSE state END)
      IN (SELECT value FROM json_each(:status)))
  AND (:agent IS NULL OR jobs.agent = :agent)
  AND (:queue IS NULL OR jobs.queue = :queue)
  AND (:session_id IS NULL OR session_id = :session_id)
  AND (:user_id IS NULL OR user_id = :user_id)
  AND (:batch_id IS NULL OR batch_id = :batch_id)
  AND (:since IS NULL OR created_at >= :since)
  AND (:until IS NULL OR created_at < :until)
  AND (:tag IS NULL OR EXISTS (SELECT 1 FROM json_each(tags) AS tag WHERE tag.value = :tag))
ORDER BY number DESC LIMIT :limit;

-- name: of_id
-- One job, if it passes the filters.
SELECT number FROM jobs LEFT JOIN job_queue USING (number)
WHERE jobs.id = :id AND jobs.tenant = :tenant
  AND number < :before
  AND (:status IS NULL OR coalesce(status, CASE state WHEN 'ready' THEN 'queued' WHEN 'parked' THEN 'queued' ELSE state END)
      IN (SELECT value FROM json_each(:status)))
  AND (:agent IS NULL OR jobs.agent = :agent)
  AND (:queue IS NULL OR jobs.queue = :queue)
  AND (:session_id IS NULL OR session_id = :session_id)
  AND (:user_id IS NULL OR user_id = :user_id)
  AND (:batch_id IS NULL OR batch_id = :batch_id)
  AND (:since IS NULL OR created_at >= :since)
  AND (:until IS NULL OR created_at < :until)
  AND (:tag IS NULL OR EXISTS (SELECT 1 FROM json_each(tags) AS tag WHERE tag.value = :tag))
ORDER BY number DESC LIMIT :limit;

-- name: infos
-- Jobs by number as people see them in lists.
SELECT number, jobs.id, jobs.tenant, jobs.agent, version,
    coalesce(status, CASE state WHEN 'ready' THEN 'queued' WHEN 'parked' THEN 'queued' ELSE state END),
    jobs.queue, priority, session_id, user_id, tags, batch_id, coalesce(job_queue.attempt, jobs.attempt),
    coalesce(job_queue.failures, jobs.failures), jobs.max_attempts, created_at, job_queue.due_at,
    coalesce(job_queue.started_at, jobs.started_at), finished_at, jobs.deadline_at,
    coalesce(job_queue.worker, jobs.worker), cancel, awaits, job_progress.data, error, callback,
    coalesce(job_queue.last_seq, jobs.last_seq)
FROM json_each(?1) AS asked CROSS JOIN jobs ON number = asked.value
    LEFT JOIN job_queue USING (number) LEFT JOIN job_progress ON job = number
ORDER BY number DESC;
