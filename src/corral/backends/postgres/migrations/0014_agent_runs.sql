-- Agents' runs: what is looked at often is apart from what is large. A run without a holder has no token.
CREATE TABLE corral.agent_runs (
    tenant           text COLLATE "C" NOT NULL,
    id               text COLLATE "C" NOT NULL,
    agent            text COLLATE "C" NOT NULL,
    state            text             NOT NULL,
    session_id       text COLLATE "C" NOT NULL,
    user_id          text COLLATE "C" NOT NULL,
    job_id           text COLLATE "C" NOT NULL,
    parent_id        text COLLATE "C" NOT NULL,
    attempt          integer          NOT NULL,
    idempotency_key  text COLLATE "C",
    fingerprint      text             NOT NULL,
    token            text             NOT NULL,
    let_go           text             NOT NULL DEFAULT '',
    lease_until      double precision NOT NULL,
    cancel_requested boolean          NOT NULL DEFAULT false,
    resumable        boolean          NOT NULL DEFAULT true,
    entries          bigint           NOT NULL,
    steps            bigint           NOT NULL DEFAULT 0,
    tool_calls       bigint           NOT NULL DEFAULT 0,
    usage            bytea            NOT NULL,
    cost_usd         double precision,
    error_code       text             NOT NULL DEFAULT '',
    created_at       double precision NOT NULL,
    updated_at       double precision NOT NULL,
    ended_at         double precision,
    outcome          bytea,
    PRIMARY KEY (tenant, id)
) PARTITION BY HASH (tenant);
CREATE TABLE corral.agent_runs_0 PARTITION OF corral.agent_runs FOR VALUES WITH (MODULUS 4, REMAINDER 0) WITH (fillfactor = 70);
CREATE TABLE corral.agent_runs_1 PARTITION OF corral.agent_runs FOR VALUES WITH (MODULUS 4, REMAINDER 1) WITH (fillfactor = 70);
CREATE TABLE corral.agent_runs_2 PARTITION OF corral.agent_runs FOR VALUES WITH (MODULUS 4, REMAINDER 2) WITH (fillfactor = 70);
CREATE TABLE corral.agent_runs_3 PARTITION OF corral.agent_runs FOR VALUES WITH (MODULUS 4, REMAINDER 3) WITH (fillfactor = 70);
CREATE UNIQUE INDEX agent_runs_by_key ON corral.agent_runs (tenant, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX agent_runs_by_time ON corral.agent_runs (tenant, created_at, id);
CREATE INDEX agent_runs_open ON corral.agent_runs (tenant, created_at, id) WHERE ended_at IS NULL;
CREATE INDEX agent_runs_by_session ON corral.agent_runs (tenant, session_id, created_at, id) WHERE session_id <> '';
CREATE INDEX agent_runs_by_change ON corral.agent_runs (updated_at);

CREATE TABLE corral.agent_entries (
    tenant text COLLATE "C" NOT NULL,
    run_id text COLLATE "C" NOT NULL,
    seq    bigint           NOT NULL,
    at     double precision NOT NULL,
    kind   text             NOT NULL,
    body   bytea            NOT NULL,
    PRIMARY KEY (tenant, run_id, seq)
) PARTITION BY HASH (run_id);
CREATE TABLE corral.agent_entries_0 PARTITION OF corral.agent_entries FOR VALUES WITH (MODULUS 8, REMAINDER 0);
CREATE TABLE corral.agent_entries_1 PARTITION OF corral.agent_entries FOR VALUES WITH (MODULUS 8, REMAINDER 1);
CREATE TABLE corral.agent_entries_2 PARTITION OF corral.agent_entries FOR VALUES WITH (MODULUS 8, REMAINDER 2);
CREATE TABLE corral.agent_entries_3 PARTITION OF corral.agent_entries FOR VALUES WITH (MODULUS 8, REMAINDER 3);
CREATE TABLE corral.agent_entries_4 PARTITION OF corral.agent_entries FOR VALUES WITH (MODULUS 8, REMAINDER 4);
CREATE TABLE corral.agent_entries_5 PARTITION OF corral.agent_entries FOR VALUES WITH (MODULUS 8, REMAINDER 5);
CREATE TABLE corral.agent_entries_6 PARTITION OF corral.agent_entries FOR VALUES WITH (MODULUS 8, REMAINDER 6);
CREATE TABLE corral.agent_entries_7 PARTITION OF corral.agent_entries FOR VALUES WITH (MODULUS 8, REMAINDER 7);

CREATE TABLE corral.agent_approvals (
    tenant     text COLLATE "C" NOT NULL,
    id         text COLLATE "C" NOT NULL,
    run_id     text COLLATE "C" NOT NULL,
    state      text             NOT NULL,
    asked_at   double precision NOT NULL,
    expires_at double precision,
    decided_at double precision,
    question   bytea            NOT NULL,
    decision   bytea,
    PRIMARY KEY (tenant, id)
) PARTITION BY HASH (tenant);
CREATE TABLE corral.agent_approvals_0 PARTITION OF corral.agent_approvals FOR VALUES WITH (MODULUS 4, REMAINDER 0);
CREATE TABLE corral.agent_approvals_1 PARTITION OF corral.agent_approvals FOR VALUES WITH (MODULUS 4, REMAINDER 1);
CREATE TABLE corral.agent_approvals_2 PARTITION OF corral.agent_approvals FOR VALUES WITH (MODULUS 4, REMAINDER 2);
CREATE TABLE corral.agent_approvals_3 PARTITION OF corral.agent_approvals FOR VALUES WITH (MODULUS 4, REMAINDER 3);
CREATE INDEX agent_approvals_by_time ON corral.agent_approvals (tenant, asked_at, id);
CREATE INDEX agent_approvals_waiting ON corral.agent_approvals (tenant, asked_at, id) WHERE state = 'waiting';
CREATE INDEX agent_approvals_by_run ON corral.agent_approvals (tenant, run_id);

CREATE FUNCTION corral.agent_run_goes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM corral.agent_entries WHERE tenant = old.tenant AND run_id = old.id;
    DELETE FROM corral.agent_approvals WHERE tenant = old.tenant AND run_id = old.id;
    RETURN NULL;
END $$;
CREATE TRIGGER agent_run_goes AFTER DELETE ON corral.agent_runs FOR EACH ROW EXECUTE FUNCTION corral.agent_run_goes();

-- A run as people see it: one whose worker was not heard of for as long as its lease is interrupted.
CREATE VIEW corral.agent_runs_shown AS
SELECT tenant, id, agent, CASE WHEN state = 'running' AND lease_until <= corral.now() THEN 'interrupted' ELSE state END AS state,
    session_id, user_id, job_id, parent_id, attempt, cancel_requested, entries, steps, tool_calls, usage, cost_usd, error_code,
    created_at, updated_at, ended_at, resumable, outcome
FROM corral.agent_runs;

CREATE VIEW corral.agent_approvals_shown AS
SELECT approval.tenant, approval.id, approval.run_id, run.agent, run.session_id, run.user_id, run.job_id,
    CASE WHEN approval.state = 'waiting' AND approval.expires_at <= corral.now() THEN 'expired' ELSE approval.state END AS state,
    approval.state = 'waiting' AS is_open, approval.asked_at, approval.expires_at, approval.decided_at, approval.question,
    approval.decision
FROM corral.agent_approvals AS approval
JOIN corral.agent_runs AS run ON run.tenant = approval.tenant AND run.id = approval.run_id;

CREATE FUNCTION corral.agent_add_entries(
    p_tenant text, p_run_id text, p_first bigint, p_kinds text[], p_bodies bytea[]
) RETURNS void LANGUAGE sql VOLATILE AS $$
    INSERT INTO corral.agent_entries (tenant, run_id, seq, at, kind, body)
    SELECT p_tenant, p_run_id, p_first + ord - 1, corral.now(), kind, body
    FROM unnest(p_kinds, p_bodies) WITH ORDINALITY AS one(kind, body, ord)
$$;

-- Begin a run, or name the one that has its id or its key.
CREATE FUNCTION corral.agent_begin(
    p_tenant text, p_id text, p_agent text, p_session_id text, p_user_id text, p_job_id text, p_parent_id text,
    p_attempt integer, p_key text, p_fingerprint text, p_token text, p_lease_s double precision, p_usage bytea,
    p_kinds text[], p_bodies bytea[], OUT o_id text, OUT o_is_new boolean, OUT o_reused boolean
) LANGUAGE plpgsql AS $$
DECLARE
    v_now double precision := corral.now();
    v_run record;
BEGIN
    o_reused := false;
    INSERT INTO corral.agent_runs (
        tenant, id, agent, state, session_id, user_id, job_id, parent_id, attempt, idempotency_key, fingerprint, token,
        lease_until, entries, usage, cost_usd, created_at, updated_at)
    VALUES (p_tenant, p_id, p_agent, 'running', p_session_id, p_user_id, p_job_id, p_parent_id, p_attempt, p_key,
        p_fingerprint, p_token, v_now + p_lease_s, cardinality(p_kinds), p_usage, 0, v_now, v_now)
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        PERFORM corral.agent_add_entries(p_tenant, p_id, 1, p_kinds, p_bodies);
        o_id := p_id;
        o_is_new := true;
        RETURN;
    END IF;
    SELECT id, fingerprint, token, idempotency_key INTO v_run FROM corral.agent_runs WHERE tenant = p_tenant AND id = p_id;
    IF NOT FOUND THEN
        SELECT id, fingerprint, token, idempotency_key INTO v_run
        FROM corral.agent_runs WHERE tenant = p_tenant AND idempotency_key = p_key;
    END IF;
    o_id := v_run.id;
    o_is_new := coalesce(v_run.token = p_token, false);
    o_reused := coalesce(v_run.idempotency_key = p_key AND v_run.fingerprint <> p_fingerprint, false);
END $$;

-- Give a run to a new holder, or say why not.
CREATE FUNCTION corral.agent_claim(p_tenant text, p_id text, p_token text, p_lease_s double precision, p_attempt integer)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_now double precision;
    v_run record;
BEGIN
    SELECT state, token, lease_until, attempt, resumable INTO v_run
    FROM corral.agent_runs WHERE tenant = p_tenant AND id = p_id FOR UPDATE;
    v_now := corral.now();
    IF v_run.state IS NULL THEN
        RETURN 'no run';
    ELSIF NOT v_run.resumable THEN
        RETURN 'over';
    ELSIF v_run.state = 'running' AND v_run.token <> p_token AND v_run.lease_until > v_now AND p_attempt <= v_run.attempt THEN
        RETURN 'busy';
    END IF;
    UPDATE corral.agent_runs SET state = 'running', token = p_token, let_go = '', lease_until = v_now + p_lease_s,
        attempt = greatest(attempt, p_attempt), updated_at = v_now, outcome = NULL, error_code = '', ended_at = NULL,
        resumable = true
    WHERE tenant = p_tenant AND id = p_id;
    RETURN NULL;
END $$;

-- Nobody need answer a run's questions any more.
CREATE FUNCTION corral.agent_withdraw(p_tenant text, p_run_id text) RETURNS void LANGUAGE sql VOLATILE AS $$
    UPDATE corral.agent_approvals SET state = 'withdrawn', decided_at = corral.now()
    WHERE tenant = p_tenant AND run_id = p_run_id AND state = 'waiting'
$$;

-- Append, fenced, and let the run go where `p_state` is given.
CREATE FUNCTION corral.agent_append(
    p_tenant text, p_id text, p_token text, p_first bigint, p_kinds text[], p_bodies bytea[],
    p_steps bigint, p_tool_calls bigint, p_usage bytea, p_cost_usd double precision,
    p_approvals text[], p_questions bytea[], p_ttls double precision[],
    p_state text, p_is_over boolean, p_resumable boolean, p_outcome bytea, p_error_code text,
    OUT o_refused text, OUT o_cancelled boolean
) LANGUAGE plpgsql AS $$
DECLARE
    v_now double precision;
    v_run record;
BEGIN
    SELECT token, let_go, entries, cancel_requested INTO v_run
    FROM corral.agent_runs WHERE tenant = p_tenant AND id = p_id FOR UPDATE;
    IF v_run.token IS NULL THEN
        o_refused := 'lost';
        RETURN;
    END IF;
    v_now := corral.now();
    o_cancelled := v_run.cancel_requested;
    -- Written before: the first answer was lost.
    IF v_run.entries = p_first - 1 + cardinality(p_kinds)
        AND (v_run.token = p_token AND cardinality(p_kinds) > 0
            OR v_run.token = '' AND v_run.let_go = p_token AND p_state IS NOT NULL) THEN
        RETURN;
    END IF;
    IF v_run.token <> p_token OR v_run.entries <> p_first - 1 THEN
        o_refused := 'lost';
        RETURN;
    END IF;
    PERFORM corral.agent_add_entries(p_tenant, p_id, p_first, p_kinds, p_bodies);
    UPDATE corral.agent_runs SET entries = entries + cardinality(p_kinds), updated_at = v_now,
        steps = coalesce(p_steps, steps), tool_calls = coalesce(p_tool_calls, tool_calls), usage = coalesce(p_usage, usage),
        cost_usd = CASE WHEN p_usage IS NULL THEN cost_usd ELSE p_cost_usd END,
        state = coalesce(p_state, state), token = CASE WHEN p_state IS NULL THEN token ELSE '' END,
        let_go = CASE WHEN p_state IS NULL THEN let_go ELSE token END, outcome = p_outcome,
        error_code = coalesce(p_error_code, ''), resumable = p_resumable,
        ended_at = CASE WHEN p_is_over THEN v_now END
    WHERE tenant = p_tenant AND id = p_id;
    INSERT INTO corral.agent_approvals (tenant, id, run_id, state, asked_at, expires_at, question)
    SELECT p_tenant, one.id, p_id, 'waiting', v_now, v_now + one.ttl_s, one.question
    FROM unnest(p_approvals, p_questions, p_ttls) AS one(id, question, ttl_s) ON CONFLICT DO NOTHING;
    IF p_is_over THEN
        PERFORM corral.agent_withdraw(p_tenant, p_id);
    ELSIF p_state IS NOT NULL AND v_run.cancel_requested THEN
        UPDATE corral.agent_runs SET state = 'cancelled', resumable = false, error_code = 'cancelled', outcome = NULL,
            ended_at = v_now
        WHERE tenant = p_tenant AND id = p_id;
        PERFORM corral.agent_withdraw(p_tenant, p_id);
    END IF;
END $$;

-- Answer, once and for all, or say why not.
CREATE FUNCTION corral.agent_decide(p_tenant text, p_id text, p_state text, p_decision bytea, OUT o_refused text, OUT o_was text)
LANGUAGE plpgsql AS $$
DECLARE
    v_run_id text;
    v_now double precision;
    v_approval record;
BEGIN
    -- First the run, as all who change both do.
    SELECT run_id INTO v_run_id FROM corral.agent_approvals WHERE tenant = p_tenant AND id = p_id;
    PERFORM 1 FROM corral.agent_runs WHERE tenant = p_tenant AND id = v_run_id FOR UPDATE;
    SELECT state, expires_at, decision INTO v_approval
    FROM corral.agent_approvals WHERE tenant = p_tenant AND id = p_id FOR UPDATE;
    v_now := corral.now();
    IF v_approval.state IS NULL THEN
        o_refused := 'no approval';
    ELSIF v_approval.state = 'waiting' AND v_approval.expires_at <= v_now THEN
        o_refused := 'closed';
        o_was := 'expired';
    ELSIF v_approval.state = 'waiting' THEN
        UPDATE corral.agent_approvals SET state = p_state, decision = p_decision, decided_at = v_now
        WHERE tenant = p_tenant AND id = p_id;
    ELSIF v_approval.decision IS DISTINCT FROM p_decision THEN
        o_refused := 'closed';
        o_was := v_approval.state;
    END IF;
END $$;

-- Cancel a run that nobody works on; ask another one to stop.
CREATE FUNCTION corral.agent_cancel(p_tenant text, p_id text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_now double precision;
    v_run record;
BEGIN
    SELECT state, lease_until, ended_at INTO v_run
    FROM corral.agent_runs WHERE tenant = p_tenant AND id = p_id FOR UPDATE;
    v_now := corral.now();
    IF v_run.state IS NULL THEN
        RETURN 'no run';
    ELSIF v_run.ended_at IS NOT NULL THEN
        RETURN NULL;
    ELSIF v_run.state = 'running' AND v_run.lease_until > v_now THEN
        UPDATE corral.agent_runs SET cancel_requested = true WHERE tenant = p_tenant AND id = p_id;
    ELSE
        UPDATE corral.agent_runs SET state = 'cancelled', cancel_requested = true, token = '', let_go = '', resumable = false,
            error_code = 'cancelled', outcome = NULL, updated_at = v_now, ended_at = v_now
        WHERE tenant = p_tenant AND id = p_id;
        PERFORM corral.agent_withdraw(p_tenant, p_id);
    END IF;
    RETURN NULL;
END $$;
