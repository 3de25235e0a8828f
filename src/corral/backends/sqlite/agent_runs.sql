-- name: begin
-- Begin a run.
INSERT INTO agent_runs (
    tenant, id, agent, state, session_id, user_id, job_id, parent_id, attempt, idempotency_key, fingerprint, token,
    lease_until, entries, usage, cost_usd, created_at, updated_at)
VALUES (:tenant, :id, :agent, 'running', :session_id, :user_id, :job_id, :parent_id, :attempt, :idempotency_key,
    :fingerprint, :token, :lease_until, :entries, :usage, 0.0, :now, :now);

-- name: known
-- The run that has this id, or this key.
SELECT id, fingerprint, token, idempotency_key FROM agent_runs
WHERE tenant = ?1 AND (id = ?2 OR (?3 IS NOT NULL AND idempotency_key = ?3)) ORDER BY id = ?2 DESC LIMIT 1;

-- name: get
-- One run, whole.
SELECT tenant, id, agent, CASE WHEN state = 'running' AND lease_until <= ?3 THEN 'interrupted' ELSE state END,
    session_id, user_id, job_id, parent_id, attempt, cancel_requested, entries, steps, tool_calls, usage, cost_usd,
    error_code, created_at, updated_at, ended_at, resumable, outcome
FROM agent_runs WHERE tenant = ?1 AND id = ?2;

-- name: list
-- A tenant's runs, newest first.
SELECT tenant, id, agent, CASE WHEN state = 'running' AND lease_until <= :now THEN 'interrupted' ELSE state END AS shown,
    session_id, user_id, job_id, parent_id, attempt, cancel_requested, entries, steps, tool_calls, usage, cost_usd,
    error_code, created_at, updated_at, ended_at, resumable
FROM agent_runs INDEXED BY agent_runs_by_time
WHERE tenant = :tenant AND (created_at, id) < (:before_at, :before_id) AND created_at >= :since AND created_at < :until
  AND (:states IS NULL OR shown IN (SELECT value FROM json_each(:states)))
  AND (:agent IS NULL OR agent = :agent) AND (:session_id IS NULL OR session_id = :session_id)
  AND (:user_id IS NULL OR user_id = :user_id) AND (:job_id IS NULL OR job_id = :job_id)
ORDER BY created_at DESC, id DESC LIMIT :limit;

-- name: list_open
-- A tenant's runs that are not over, newest first: few among many.
SELECT tenant, id, agent, CASE WHEN state = 'running' AND lease_until <= :now THEN 'interrupted' ELSE state END AS shown,
    session_id, user_id, job_id, parent_id, attempt, cancel_requested, entries, steps, tool_calls, usage, cost_usd,
    error_code, created_at, updated_at, ended_at, resumable
FROM agent_runs INDEXED BY agent_runs_open
WHERE ended_at IS NULL
  AND tenant = :tenant AND (created_at, id) < (:before_at, :before_id) AND created_at >= :since AND created_at < :until
  AND (:states IS NULL OR shown IN (SELECT value FROM json_each(:states)))
  AND (:agent IS NULL OR agent = :agent) AND (:session_id IS NULL OR session_id = :session_id)
  AND (:user_id IS NULL OR user_id = :user_id) AND (:job_id IS NULL OR job_id = :job_id)
ORDER BY created_at DESC, id DESC LIMIT :limit;

-- name: list_of_session
-- A session's runs, newest first.
SELECT tenant, id, agent, CASE WHEN state = 'running' AND lease_until <= :now THEN 'interrupted' ELSE state END AS shown,
    session_id, user_id, job_id, parent_id, attempt, cancel_requested, entries, steps, tool_calls, usage, cost_usd,
    error_code, created_at, updated_at, ended_at, resumable
FROM agent_runs INDEXED BY agent_runs_by_session
WHERE session_id <> '' AND session_id = :session_id
  AND tenant = :tenant AND (created_at, id) < (:before_at, :before_id) AND created_at >= :since AND created_at < :until
  AND (:states IS NULL OR shown IN (SELECT value FROM json_each(:states)))
  AND (:agent IS NULL OR agent = :agent)
  AND (:user_id IS NULL OR user_id = :user_id) AND (:job_id IS NULL OR job_id = :job_id)
ORDER BY created_at DESC, id DESC LIMIT :limit;

-- name: held
-- Who holds a run, and how far it is.
SELECT state, token, let_go, lease_until, attempt, cancel_requested, entries, resumable FROM agent_runs WHERE tenant = ?1 AND id = ?2;

-- name: claim
-- Give a run to a new holder.
UPDATE agent_runs SET state = 'running', token = :token, let_go = '', lease_until = :lease_until, attempt = :attempt,
    updated_at = :now, outcome = NULL, error_code = '', ended_at = NULL, resumable = 1
WHERE tenant = :tenant AND id = :id;

-- name: renew
-- Extend a lease, if the token still holds the run.
UPDATE agent_runs SET lease_until = ?1 WHERE tenant = ?2 AND id = ?3 AND token = ?4 RETURNING cancel_requested;

-- name: add_entry
-- Append an entry.
INSERT INTO agent_entries (tenant, run_id, seq, at, kind, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6);

-- name: grow
-- Note how far a run is.
UPDATE agent_runs SET entries = :entries, updated_at = :now WHERE tenant = :tenant AND id = :id;

-- name: count
-- Note what a run took.
UPDATE agent_runs SET steps = ?1, tool_calls = ?2, usage = ?3, cost_usd = ?4 WHERE tenant = ?5 AND id = ?6;

-- name: let_go
-- Let a run go.
UPDATE agent_runs SET state = :state, token = '', let_go = token, outcome = :outcome, error_code = :error_code,
    resumable = :resumable, ended_at = CASE WHEN :is_over THEN :now END
WHERE tenant = :tenant AND id = :id;

-- name: ask
-- Ask for an approval, once.
INSERT INTO agent_approvals (tenant, id, run_id, state, asked_at, expires_at, question)
VALUES (?1, ?2, ?3, 'waiting', ?4, ?5, ?6) ON CONFLICT DO NOTHING;

-- name: entries
-- Entries above a number.
SELECT seq, at, kind, body FROM agent_entries WHERE tenant = ?1 AND run_id = ?2 AND seq > ?3 ORDER BY seq LIMIT ?4;

-- name: approvals
-- What people were asked, newest first.
SELECT approval.id, approval.run_id, run.agent, run.session_id, run.user_id, run.job_id,
    CASE WHEN approval.state = 'waiting' AND approval.expires_at <= :now THEN 'expired' ELSE approval.state END AS shown,
    asked_at, expires_at, decided_at, question, decision
FROM agent_approvals AS approval INDEXED BY agent_approvals_by_time
JOIN agent_runs AS run ON run.tenant = approval.tenant AND run.id = approval.run_id
WHERE approval.tenant = :tenant AND (asked_at, approval.id) < (:before_at, :before_id)
  AND (:states IS NULL OR shown IN (SELECT value FROM json_each(:states)))
  AND (:agent IS NULL OR run.agent = :agent)
ORDER BY asked_at DESC, approval.id DESC LIMIT :limit;

-- name: approvals_waiting
-- What people are asked now, newest first: few among many.
SELECT approval.id, approval.run_id, run.agent, run.session_id, run.user_id, run.job_id, 'waiting',
    asked_at, expires_at, decided_at, question, decision
FROM agent_approvals AS approval INDEXED BY agent_approvals_waiting
JOIN agent_runs AS run ON run.tenant = approval.tenant AND run.id = approval.run_id
WHERE approval.state = 'waiting' AND (approval.expires_at IS NULL OR approval.expires_at > :now)
  AND approval.tenant = :tenant AND (asked_at, approval.id) < (:before_at, :before_id)
  AND (:agent IS NULL OR run.agent = :agent)
ORDER BY asked_at DESC, approval.id DESC LIMIT :limit;

-- name: approvals_of_run
-- What people were asked by one run, newest first.
SELECT approval.id, approval.run_id, run.agent, run.session_id, run.user_id, run.job_id,
    CASE WHEN approval.state = 'waiting' AND approval.expires_at <= :now THEN 'expired' ELSE approval.state END AS shown,
    asked_at, expires_at, decided_at, question, decision
FROM agent_approvals AS approval INDEXED BY agent_approvals_by_run
JOIN agent_runs AS run ON run.tenant = approval.tenant AND run.id = approval.run_id
WHERE approval.run_id = :run_id
  AND approval.tenant = :tenant AND (asked_at, approval.id) < (:before_at, :before_id)
  AND (:states IS NULL OR shown IN (SELECT value FROM json_each(:states)))
  AND (:agent IS NULL OR run.agent = :agent)
ORDER BY asked_at DESC, approval.id DESC LIMIT :limit;

-- name: approval
-- One of them.
SELECT approval.id, approval.run_id, run.agent, run.session_id, run.user_id, run.job_id,
    CASE WHEN approval.state = 'waiting' AND approval.expires_at <= :now THEN 'expired' ELSE approval.state END,
    asked_at, expires_at, decided_at, question, decision
FROM agent_approvals AS approval JOIN agent_runs AS run ON run.tenant = approval.tenant AND run.id = approval.run_id
WHERE approval.tenant = :tenant AND approval.id = :id;

-- name: decide
-- Answer.
UPDATE agent_approvals SET state = ?1, decision = ?2, decided_at = ?3 WHERE tenant = ?4 AND id = ?5;

-- name: withdraw
-- Nobody need answer a run's questions any more.
UPDATE agent_approvals SET state = 'withdrawn', decided_at = ?1 WHERE tenant = ?2 AND run_id = ?3 AND state = 'waiting';

-- name: ask_to_stop
-- Want a run cancelled.
UPDATE agent_runs SET cancel_requested = 1 WHERE tenant = ?1 AND id = ?2;

-- name: cancel
-- Cancel a run that nobody works on.
UPDATE agent_runs SET state = 'cancelled', cancel_requested = 1, let_go = CASE token WHEN '' THEN let_go ELSE token END, token = '', error_code = 'cancelled',
    resumable = 0, outcome = NULL, updated_at = ?1, ended_at = ?1
WHERE tenant = ?2 AND id = ?3;

-- name: expire
-- Remove runs that nobody works on and that have not changed for long.
DELETE FROM agent_runs WHERE rowid IN (
    SELECT rowid FROM agent_runs INDEXED BY agent_runs_by_change
    WHERE updated_at < ?1 AND (state <> 'running' OR lease_until <= ?2) ORDER BY updated_at LIMIT ?3
);

-- name: waiting
-- How many questions wait for an answer, up to a bound.
SELECT count(*) FROM (
    SELECT 1 FROM agent_approvals INDEXED BY agent_approvals_waiting
    WHERE state = 'waiting' AND (expires_at IS NULL OR expires_at > ?2) LIMIT ?1);
