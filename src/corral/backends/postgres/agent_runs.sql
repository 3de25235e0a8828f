-- name: begin
-- Begin a run, or name the one that has its id or its key.
SELECT o_id, o_is_new, o_reused FROM corral.agent_begin($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15);

-- name: claim
-- Give a run to a new holder.
SELECT corral.agent_claim($1, $2, $3, $4, $5);

-- name: append
-- Append, fenced, and let the run go.
SELECT o_refused, o_cancelled FROM corral.agent_append(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18);

-- name: renew
-- Extend the leases of tokens that still hold their run, and name those.
WITH held AS (
    SELECT run.tenant, run.id FROM corral.agent_runs AS run
    JOIN unnest($1::text[], $2::text[], $3::text[]) AS mine(tenant, id, token)
        ON run.tenant = mine.tenant AND run.id = mine.id AND run.token = mine.token
    ORDER BY run.tenant, run.id FOR UPDATE OF run
)
UPDATE corral.agent_runs AS run SET lease_until = corral.now() + $4
FROM held WHERE run.tenant = held.tenant AND run.id = held.id RETURNING run.token, run.cancel_requested;

-- name: get
-- One run, whole.
SELECT tenant, id, agent, state, session_id, user_id, job_id, parent_id, attempt, cancel_requested, entries, steps, tool_calls,
    usage, cost_usd, error_code, created_at, updated_at, ended_at, resumable, outcome
FROM corral.agent_runs_shown WHERE tenant = $1 AND id = $2;

-- name: list
-- A tenant's runs, newest first.
SELECT tenant, id, agent, state, session_id, user_id, job_id, parent_id, attempt, cancel_requested, entries, steps, tool_calls,
    usage, cost_usd, error_code, created_at, updated_at, ended_at, resumable
FROM corral.agent_runs_shown
WHERE tenant = $1 AND (created_at, id) < ($2, $3) AND created_at >= $4 AND created_at < $5
  AND ($6::text[] IS NULL OR state = ANY ($6)) AND ($7::text IS NULL OR agent = $7)
  AND ($8::text IS NULL OR session_id = $8) AND ($9::text IS NULL OR user_id = $9) AND ($10::text IS NULL OR job_id = $10)
ORDER BY created_at DESC, id DESC LIMIT $11;

-- name: list_open
-- A tenant's runs that are not over, newest first: few among many.
SELECT tenant, id, agent, state, session_id, user_id, job_id, parent_id, attempt, cancel_requested, entries, steps, tool_calls,
    usage, cost_usd, error_code, created_at, updated_at, ended_at, resumable
FROM corral.agent_runs_shown
WHERE tenant = $1 AND (created_at, id) < ($2, $3) AND created_at >= $4 AND created_at < $5 AND ended_at IS NULL
  AND ($6::text[] IS NULL OR state = ANY ($6)) AND ($7::text IS NULL OR agent = $7)
  AND ($8::text IS NULL OR session_id = $8) AND ($9::text IS NULL OR user_id = $9) AND ($10::text IS NULL OR job_id = $10)
ORDER BY created_at DESC, id DESC LIMIT $11;

-- name: list_of_session
-- A session's runs, newest first.
SELECT tenant, id, agent, state, session_id, user_id, job_id, parent_id, attempt, cancel_requested, entries, steps, tool_calls,
    usage, cost_usd, error_code, created_at, updated_at, ended_at, resumable
FROM corral.agent_runs_shown
WHERE tenant = $1 AND (created_at, id) < ($2, $3) AND created_at >= $4 AND created_at < $5
  AND session_id <> '' AND session_id = $8
  AND ($6::text[] IS NULL OR state = ANY ($6)) AND ($7::text IS NULL OR agent = $7)
  AND ($8::text IS NULL OR session_id = $8) AND ($9::text IS NULL OR user_id = $9) AND ($10::text IS NULL OR job_id = $10)
ORDER BY created_at DESC, id DESC LIMIT $11;

-- name: entries
-- Entries above a number.
SELECT seq, at, kind, body FROM corral.agent_entries WHERE tenant = $1 AND run_id = $2 AND seq > $3 ORDER BY seq LIMIT $4;

-- name: approvals
-- What people were asked, newest first.
SELECT id, run_id, agent, session_id, user_id, job_id, state, asked_at, expires_at, decided_at, question, decision
FROM corral.agent_approvals_shown
WHERE tenant = $1 AND (asked_at, id) < ($2, $3) AND ($4::text[] IS NULL OR state = ANY ($4))
  AND ($5::text IS NULL OR agent = $5)
ORDER BY asked_at DESC, id DESC LIMIT $6;

-- name: approvals_waiting
-- What people are asked now, newest first: few among many.
SELECT id, run_id, agent, session_id, user_id, job_id, state, asked_at, expires_at, decided_at, question, decision
FROM corral.agent_approvals_shown
WHERE tenant = $1 AND (asked_at, id) < ($2, $3) AND is_open AND state = ANY ($4::text[])
  AND ($5::text IS NULL OR agent = $5)
ORDER BY asked_at DESC, id DESC LIMIT $6;

-- name: approvals_of_run
-- What people were asked by one run, newest first.
SELECT id, run_id, agent, session_id, user_id, job_id, state, asked_at, expires_at, decided_at, question, decision
FROM corral.agent_approvals_shown
WHERE tenant = $1 AND (asked_at, id) < ($2, $3) AND ($4::text[] IS NULL OR state = ANY ($4))
  AND ($5::text IS NULL OR agent = $5) AND run_id = $7
ORDER BY asked_at DESC, id DESC LIMIT $6;

-- name: approval
-- One of them.
SELECT id, run_id, agent, session_id, user_id, job_id, state, asked_at, expires_at, decided_at, question, decision
FROM corral.agent_approvals_shown WHERE tenant = $1 AND id = $2;

-- name: decide
-- Answer.
SELECT o_refused, o_was FROM corral.agent_decide($1, $2, $3, $4);

-- name: cancel
-- Cancel a run that nobody works on; ask another one to stop.
SELECT corral.agent_cancel($1, $2);

-- name: expire
-- Remove runs that nobody works on and that have not changed for long.
WITH gone AS (
    DELETE FROM corral.agent_runs WHERE (tenant, id) IN (
        SELECT tenant, id FROM corral.agent_runs
        WHERE updated_at < $1 AND (state <> 'running' OR lease_until <= corral.now())
        ORDER BY updated_at LIMIT $2 FOR UPDATE SKIP LOCKED)
    RETURNING 1
) SELECT count(*) FROM gone;

-- name: waiting
-- How many questions wait for an answer, up to a bound.
SELECT count(*) FROM (
    SELECT 1 FROM corral.agent_approvals
    WHERE state = 'waiting' AND (expires_at IS NULL OR expires_at > corral.now()) LIMIT $1) AS few;
