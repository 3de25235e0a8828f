-- name: enqueue
-- Enqueue many, or none.
SELECT o_refused, o_id, o_is_new, o_state FROM corral.enqueue_jobs(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23);

-- name: enqueue_alike
-- Enqueue jobs that differ in ids and inputs alone, ready at once; one whose id is known breaks it.
SELECT corral.enqueue_alike($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19);

-- name: count_fresh
-- How many of these drafts are no jobs yet.
SELECT count(*) FROM unnest($1::text[], $2::text[], $3::text[]) AS one(id, tenant, key)
WHERE NOT EXISTS (SELECT 1 FROM corral.jobs_shown AS job WHERE job.tenant = one.tenant AND job.id = one.id)
  AND NOT EXISTS (
    SELECT 1 FROM corral.job_dedupe AS known
    WHERE known.tenant = one.tenant AND known.key = one.key AND known.expires_at > corral.now());

-- name: claim
-- Take ready jobs; the last row says when the next one is due.
SELECT * FROM corral.claim_jobs($1, $2, $3, $4, $5, $6);

-- name: claimed_by_call
-- Take again what an earlier call took, in its order: a token is the call, a point, and a number.
SELECT * FROM corral.claimed_jobs(ARRAY(SELECT corral.claimed_by_call($1)))
ORDER BY substring(substr(o_token, length($1) + 2) FROM '^[0-9]+')::integer;

-- name: renew
-- Extend leases, and name those that stand.
SELECT o_token, o_cancelled FROM corral.renew_jobs($1, $2, $3);

-- name: note_worker
-- Write down that a worker lives.
INSERT INTO corral.job_workers (worker, seen_at, info) VALUES ($1, corral.now(), $2)
ON CONFLICT (worker) DO UPDATE SET seen_at = excluded.seen_at, info = excluded.info;

-- name: forget_worker
-- A worker has stopped.
DELETE FROM corral.job_workers WHERE worker = $1;

-- name: settle
-- Let jobs go.
SELECT corral.settle_jobs($1, $2, $3, $4, $5, $6, $7, $8);

-- name: journal
-- Write steps.
SELECT corral.journal_steps($1, $2, $3, $4, $5, $6, $7, $8);

-- name: steps
-- A whole journal, signals last.
SELECT key, ordinal, kind, value, is_reference, failed FROM corral.job_steps
WHERE job_id = $1 ORDER BY kind = 'signal', ordinal, key;

-- name: emit
-- Append events.
SELECT corral.emit_events($1, $2, $3, $4, $5, $6);

-- name: signal
-- Write a signal.
SELECT corral.signal_job($1, $2, $3, $4, $5);

-- name: cancel
-- Cancel these.
SELECT corral.cancel_jobs($1, $2);

-- name: find_open
-- Open jobs of a tenant that a query names.
SELECT unnest(corral.open_ids($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12));

-- name: ready_due
-- Make ready whose time has come.
SELECT corral.ready_due($1);

-- name: reap
-- Take away what was lost and give up what is too late.
SELECT o_requeued, o_failed, o_cancelled FROM corral.reap_jobs($1, $2, $3);

-- name: age
-- Move up who waited long.
SELECT corral.age_jobs($1, $2);

-- name: note_queues
-- Note which queues were used lately, now and then, and forget those that nobody uses any more.
WITH gone AS (
    DELETE FROM corral.job_queues WHERE queue IN (
        SELECT queue FROM corral.job_queues AS known
        WHERE used_at <= corral.now() - 3600
          AND NOT EXISTS (SELECT 1 FROM corral.job_heads AS head WHERE head.queue = known.queue)
        LIMIT $1 FOR UPDATE SKIP LOCKED)
)
INSERT INTO corral.job_queues AS known (queue, used_at)
SELECT queue, corral.now() FROM corral.job_heads GROUP BY queue ORDER BY queue
ON CONFLICT (queue) DO UPDATE SET used_at = excluded.used_at WHERE known.used_at < excluded.used_at - 60;

-- name: tidy
-- Remove what nobody needs any more.
SELECT corral.tidy_jobs($1), corral.tidy_bundles($1);
