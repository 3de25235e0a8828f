-- name: rank
-- The lowest pass among the ready jobs of a rank, and the highest one ever given in it.
SELECT
    (SELECT pass FROM job_queue WHERE state = 'ready' AND queue = ?1 AND rank = ?2 ORDER BY pass LIMIT 1),
    coalesce((SELECT top FROM job_ranks WHERE queue = ?1 AND rank = ?2), 0.0);

-- name: lane
-- The last pass of a lane.
SELECT pass FROM job_lanes WHERE queue = ?1 AND rank = ?2 AND tenant = ?3 AND fairness_key = ?4;

-- name: move_lane
-- Note the last pass of a lane.
INSERT INTO job_lanes (queue, rank, tenant, fairness_key, pass) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT DO UPDATE SET pass = excluded.pass;

-- name: move_rank
-- Note the highest pass of a rank.
INSERT INTO job_ranks (queue, rank, top) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET top = excluded.top;

-- name: count_open
-- Count jobs that came into a queue or left it.
INSERT INTO job_queues (queue, open, used_at) VALUES (?1, ?2, ?3)
ON CONFLICT DO UPDATE SET open = open + excluded.open, used_at = excluded.used_at;

-- name: slots
-- How many slots of a concurrency key are taken, and whether somebody waits for one.
SELECT
    (
        SELECT count(*) FROM job_queue INDEXED BY job_queue_slots
        WHERE tenant = ?1 AND concurrency_key = ?2 AND state IN ('ready', 'running')
    ),
    EXISTS (
        SELECT 1 FROM job_queue INDEXED BY job_queue_slots
        WHERE tenant = ?1 AND concurrency_key = ?2 AND state = 'parked'
    );

-- name: first_parked
-- The job that gets the next slot of a concurrency key (with its pass, if it has one), and how many are taken now.
SELECT number, queue, rank, fairness_key, weight, concurrency_limit, pass, (
    SELECT count(*) FROM job_queue INDEXED BY job_queue_slots
    WHERE tenant = ?1 AND concurrency_key = ?2 AND state IN ('ready', 'running')
)
FROM job_queue INDEXED BY job_queue_slots
WHERE tenant = ?1 AND concurrency_key = ?2 AND state = 'parked' ORDER BY rank, number LIMIT 1;

-- name: worst_ready
-- The least urgent job that holds a slot and does not run, if it is less urgent than that.
SELECT number FROM job_queue INDEXED BY job_queue_slots
WHERE tenant = ?1 AND concurrency_key = ?2 AND state = 'ready' AND rank > ?3 ORDER BY rank DESC, number DESC LIMIT 1;

-- name: park
-- Take a slot away from a job that does not run yet.
UPDATE job_queue SET state = 'parked' WHERE number = ?1;

-- name: unpark
-- Give a slot to a job: it may be claimed.
UPDATE job_queue SET state = 'ready', pass = ?1, since = ?2 WHERE number = ?3;

-- name: queue
-- A job that ran or was put off is queued again.
UPDATE job_queue SET state = ?1, pass = ?2, since = ?3, failures = ?4, due_at = NULL, lease_until = NULL, token = NULL,
    worker = NULL, awaits = ''
WHERE number = ?5;

-- name: put_off
-- A job that ran waits for a time or a signal.
UPDATE job_queue SET state = ?1, pass = NULL, due_at = ?2, failures = ?3, awaits = ?4, lease_until = NULL, token = NULL,
    worker = NULL
WHERE number = ?5;

-- name: keep
-- What came of a job. Empty values stand for nothing.
UPDATE jobs SET status = ?1, attempt = ?2, failures = ?3, started_at = nullif(?4, 0.0), finished_at = ?5,
    worker = nullif(?6, ''), last_seq = ?7, has_journal = ?8, error = nullif(?9, x''), result = nullif(?10, x'')
WHERE number = ?11;

-- name: leave
-- Ended jobs leave the queue.
DELETE FROM job_queue WHERE number IN (SELECT value FROM json_each(?1));

-- name: call_back
-- Put a job's callback into the outbox.
INSERT INTO job_outbox (id, job, tenant, job_id, callback, created_at, next_at)
SELECT ?1, number, tenant, id, callback, ?2, ?2 FROM jobs WHERE number = ?3;

-- name: note_attempt
-- Keep why an attempt failed.
INSERT INTO job_attempts (job, attempt, worker, started_at, ended_at, error) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT DO NOTHING;
