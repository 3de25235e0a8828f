-- name: get
-- One job, whole.
SELECT id, agent, queue, priority, session_id, user_id, tags, batch_id, max_attempts, created_at, deadline_at, spec, callback,
    finished_at, error, state, attempt, failures, last_seq, started_at, worker, progress, run_at, awaits, cancel_requested, input, result
FROM corral.jobs_shown WHERE tenant = $1 AND id = $2;

-- name: find
-- A tenant's jobs, newest first, through every filter that is given.
-- The open and the ended ones each in order, so that neither need be read further than the other. What says of no row
-- anything, but of the states that are asked for, stands by itself: the plan looks at it once.
(
    SELECT id, agent, queue, priority, session_id, user_id, tags, batch_id, max_attempts, created_at, deadline_at, spec, callback,
        finished_at, error, state, attempt, failures, last_seq, started_at, worker, progress, run_at, awaits, cancel_requested,
        NULL::bytea AS input, NULL::bytea AS result
    FROM corral.jobs_shown
    WHERE is_open AND id = ANY ((SELECT corral.open_ids($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12))::text[])
) UNION ALL (
    SELECT id, agent, queue, priority, session_id, user_id, tags, batch_id, max_attempts, created_at, deadline_at, spec, callback,
        finished_at, error, state, attempt, failures, last_seq, started_at, worker, progress, run_at, awaits, cancel_requested,
        NULL::bytea AS input, NULL::bytea AS result
    FROM corral.jobs_shown
    WHERE NOT is_open AND tenant = $1 AND id < $2
      AND ($4::text[] IS NULL OR $4 && ARRAY['succeeded', 'failed', 'cancelled', 'discarded'])
      AND ($4::text[] IS NULL OR state = ANY ($4))
      AND ($5::text IS NULL OR agent = $5)
      AND ($6::text IS NULL OR queue = $6)
      AND ($7::text IS NULL OR tags::jsonb ? $7)
      AND ($8::text IS NULL OR session_id = $8)
      AND ($9::text IS NULL OR user_id = $9)
      AND ($10::text IS NULL OR batch_id = $10)
      AND ($11::double precision IS NULL OR created_at >= $11)
      AND ($12::double precision IS NULL OR created_at < $12)
    ORDER BY id DESC LIMIT $3
) ORDER BY id DESC LIMIT $3;

-- name: find_of_batch
-- The same of one batch: a plan that has to fit all filters would not use what finds batches.
(
    SELECT id, agent, queue, priority, session_id, user_id, tags, batch_id, max_attempts, created_at, deadline_at, spec, callback,
        finished_at, error, state, attempt, failures, last_seq, started_at, worker, progress, run_at, awaits, cancel_requested,
        NULL::bytea AS input, NULL::bytea AS result
    FROM corral.jobs_shown
    WHERE is_open AND id = ANY ((SELECT corral.open_ids($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12))::text[])
) UNION ALL (
    SELECT id, agent, queue, priority, session_id, user_id, tags, batch_id, max_attempts, created_at, deadline_at, spec, callback,
        finished_at, error, state, attempt, failures, last_seq, started_at, worker, progress, run_at, awaits, cancel_requested,
        NULL::bytea AS input, NULL::bytea AS result
    FROM corral.jobs_shown
    WHERE NOT is_open AND tenant = $1 AND id < $2
      AND ($4::text[] IS NULL OR $4 && ARRAY['succeeded', 'failed', 'cancelled', 'discarded'])
      AND ($4::text[] IS NULL OR state = ANY ($4))
      AND ($5::text IS NULL OR agent = $5)
      AND ($6::text IS NULL OR queue = $6)
      AND ($7::text IS NULL OR tags::jsonb ? $7)
      AND ($8::text IS NULL OR session_id = $8)
      AND ($9::text IS NULL OR user_id = $9)
      AND batch_id = $10::text
      AND ($11::double precision IS NULL OR created_at >= $11)
      AND ($12::double precision IS NULL OR created_at < $12)
    ORDER BY id DESC LIMIT $3
) ORDER BY id DESC LIMIT $3;

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
WHERE job_id = $2 AND seq > $3 AND EXISTS (SELECT 1 FROM corral.jobs_shown WHERE tenant = $1 AND id = $2)
ORDER BY seq LIMIT $4;

-- name: attempts
-- The attempts of a tenant's job that did not end well.
SELECT attempt, worker, started_at, ended_at, error FROM corral.job_attempts
WHERE job_id = $2 AND EXISTS (SELECT 1 FROM corral.jobs_shown WHERE tenant = $1 AND id = $2)
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
(
    SELECT id FROM corral.jobs WHERE tenant = $1 AND id >= $2 AND id < $3 ORDER BY id LIMIT 2
) UNION ALL (
    SELECT id FROM corral.job_queue WHERE tenant = $1 AND bundle IS NULL AND id >= $2 AND id < $3 ORDER BY id LIMIT 2
) UNION ALL (
    SELECT first.id FROM corral.job_bundles AS one CROSS JOIN LATERAL (
        SELECT id FROM corral.job_queue AS job
        WHERE job.tenant = $1 AND job.bundle = one.bundle AND id BETWEEN one.first_id AND one.last_id AND id >= $2 AND id < $3
        ORDER BY id LIMIT 2
    ) AS first WHERE one.tenant = $1 AND one.last_id >= $2 AND one.first_id < $3
) ORDER BY id LIMIT 2;

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
SELECT batch.total, batch.created_at, job.state, count(job.id)
FROM corral.job_batches AS batch LEFT JOIN corral.jobs_shown AS job ON job.tenant = batch.tenant AND job.batch_id = batch.id
WHERE batch.tenant = $1 AND batch.id = $2 GROUP BY 1, 2, 3;

-- name: forget_day
-- Drop a day that is over.
SELECT corral.forget_day($1);

-- name: forget
-- Remove ended jobs of before a time, one by one.
SELECT corral.forget_jobs($1, $2);
