-- name: get
-- One job, whole.
SELECT kept.id, kept.agent, kept.queue, kept.priority, kept.session_id, kept.user_id, kept.tags, kept.batch_id,
    kept.max_attempts, kept.created_at, coalesce(job.deadline_at, kept.deadline_at), kept.spec, kept.callback,
    kept.finished_at, kept.error,
    coalesce(CASE job.state WHEN 'parked' THEN 'queued' ELSE job.state END, kept.state),
    coalesce(job.attempt, kept.attempt), coalesce(job.failures, kept.failures),
    coalesce(job.last_seq, kept.last_seq), coalesce(job.started_at, kept.started_at),
    CASE WHEN job.id IS NULL THEN kept.worker ELSE job.worker END,
    CASE WHEN job.id IS NULL THEN kept.progress ELSE job.progress END,
    job.run_at, job.awaits, coalesce(job.cancel_requested, false), kept.input, kept.result
FROM corral.jobs AS kept LEFT JOIN corral.job_queue AS job ON job.id = kept.id
WHERE kept.tenant = $1 AND kept.id = $2 AND (job.id IS NOT NULL OR kept.state IS NOT NULL);

-- name: find
-- A tenant's jobs, newest first, through every filter that is given.
SELECT kept.id, kept.agent, kept.queue, kept.priority, kept.session_id, kept.user_id, kept.tags, kept.batch_id,
    kept.max_attempts, kept.created_at, coalesce(job.deadline_at, kept.deadline_at), kept.spec, kept.callback,
    kept.finished_at, kept.error,
    coalesce(CASE job.state WHEN 'parked' THEN 'queued' ELSE job.state END, kept.state),
    coalesce(job.attempt, kept.attempt), coalesce(job.failures, kept.failures),
    coalesce(job.last_seq, kept.last_seq), coalesce(job.started_at, kept.started_at),
    CASE WHEN job.id IS NULL THEN kept.worker ELSE job.worker END,
    CASE WHEN job.id IS NULL THEN kept.progress ELSE job.progress END,
    job.run_at, job.awaits, coalesce(job.cancel_requested, false), NULL, NULL
FROM corral.jobs AS kept LEFT JOIN corral.job_queue AS job ON job.id = kept.id
WHERE kept.tenant = $1 AND kept.id < $2
  AND ($4::text[] IS NULL
    OR coalesce(CASE job.state WHEN 'parked' THEN 'queued' ELSE job.state END, kept.state) = ANY ($4))
  AND ($5::text IS NULL OR kept.agent = $5)
  AND ($6::text IS NULL OR kept.queue = $6)
  AND ($7::text IS NULL OR kept.tags::jsonb ? $7)
  AND ($8::text IS NULL OR kept.session_id = $8)
  AND ($9::text IS NULL OR kept.user_id = $9)
  AND ($10::text IS NULL OR kept.batch_id = $10)
  AND ($11::double precision IS NULL OR kept.created_at >= $11)
  AND ($12::double precision IS NULL OR kept.created_at < $12)
ORDER BY kept.id DESC LIMIT $3;

-- name: find_dead
-- A tenant's dead letters, newest first, through every filter that is given.
SELECT kept.id, kept.agent, kept.queue, kept.priority, kept.session_id, kept.user_id, kept.tags, kept.batch_id,
    kept.max_attempts, kept.created_at, kept.deadline_at, kept.spec, kept.callback, kept.finished_at, kept.error,
    kept.state, kept.attempt, kept.failures, kept.last_seq, kept.started_at, kept.worker, kept.progress,
    NULL::double precision, NULL::text, false, NULL, NULL
FROM corral.jobs AS kept
WHERE kept.tenant = $1 AND kept.id < $2 AND kept.dead AND kept.state = ANY ($4)
  AND ($5::text IS NULL OR kept.agent = $5)
  AND ($6::text IS NULL OR kept.queue = $6)
  AND ($7::text IS NULL OR kept.tags::jsonb ? $7)
  AND ($8::text IS NULL OR kept.session_id = $8)
  AND ($9::text IS NULL OR kept.user_id = $9)
  AND ($10::text IS NULL OR kept.batch_id = $10)
  AND ($11::double precision IS NULL OR kept.created_at >= $11)
  AND ($12::double precision IS NULL OR kept.created_at < $12)
ORDER BY kept.id DESC LIMIT $3;

-- name: events
-- Events of a tenant's job, in order.
SELECT seq, attempt, kind, at, data FROM corral.job_events
WHERE job_id = $2 AND seq > $3 AND EXISTS (SELECT 1 FROM corral.jobs WHERE tenant = $1 AND id = $2)
ORDER BY seq LIMIT $4;

-- name: attempts
-- The attempts of a tenant's job that did not end well.
SELECT attempt, worker, started_at, ended_at, error FROM corral.job_attempts
WHERE job_id = $2 AND EXISTS (SELECT 1 FROM corral.jobs WHERE tenant = $1 AND id = $2)
ORDER BY attempt;

-- name: redrive
-- Have these run again.
SELECT corral.redrive_jobs($1, $2, $3, $4);

-- name: discard
-- Put failed jobs away.
WITH away AS (
    SELECT tenant, id FROM corral.jobs WHERE tenant = $1 AND id = ANY ($2) AND state = 'failed' ORDER BY id FOR UPDATE
)
UPDATE corral.jobs AS kept SET state = 'discarded', dead = false FROM away
WHERE kept.tenant = away.tenant AND kept.id = away.id RETURNING kept.id;

-- name: named
-- A tenant's jobs whose ids begin so.
SELECT kept.id FROM corral.jobs AS kept
WHERE kept.tenant = $1 AND kept.id >= $2 AND kept.id < $3
  AND (kept.state IS NOT NULL OR EXISTS (SELECT 1 FROM corral.job_queue AS job WHERE job.id = kept.id))
ORDER BY kept.id LIMIT 2;

-- name: queues
-- Jobs by queue and state; also of queues that are empty since a short while.
SELECT queue, max(queued), max(scheduled), max(running), max(waiting), max(oldest) FROM (
    SELECT queue, count(*) FILTER (WHERE state IN ('queued', 'parked')) AS queued,
        count(*) FILTER (WHERE state = 'scheduled') AS scheduled,
        count(*) FILTER (WHERE state = 'running') AS running, count(*) FILTER (WHERE state = 'waiting') AS waiting,
        greatest(0, coalesce(corral.now() - min(ready_at) FILTER (WHERE state = 'queued'), 0)) AS oldest
    FROM corral.job_queue GROUP BY queue
    UNION ALL SELECT queue, 0, 0, 0, 0, 0 FROM corral.job_heads
    UNION ALL SELECT queue, 0, 0, 0, 0, 0 FROM corral.job_queues WHERE used_at > corral.now() - 3600
) AS one GROUP BY queue ORDER BY queue;

-- name: workers
-- Workers that were heard of lately.
SELECT info, seen_at FROM corral.job_workers WHERE seen_at > corral.now() - $1 ORDER BY worker;

-- name: create_batch
-- Note a batch.
INSERT INTO corral.job_batches (tenant, id, total, created_at) VALUES ($1, $2, $3, corral.now()) ON CONFLICT DO NOTHING;

-- name: batch
-- A batch, and its jobs by state.
SELECT batch.total, batch.created_at, coalesce(CASE job.state WHEN 'parked' THEN 'queued' ELSE job.state END, kept.state),
    count(kept.id)
FROM corral.job_batches AS batch
    LEFT JOIN corral.jobs AS kept ON kept.tenant = batch.tenant AND kept.batch_id = batch.id
    LEFT JOIN corral.job_queue AS job ON job.id = kept.id
WHERE batch.tenant = $1 AND batch.id = $2 GROUP BY 1, 2, 3;

-- name: forget_day
-- Drop a day that is over.
SELECT corral.forget_day($1);

-- name: forget
-- Remove ended jobs of before a time, one by one.
SELECT corral.forget_jobs($1, $2);
