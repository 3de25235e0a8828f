-- Tiers of sessions. What is cold of a session are its oldest events, up to `cold_seq`: they lie in objects outside, one
-- segment each. What is newer is here. `cold_at`: when the newest cold event was written; `warmed_at`: when events were
-- last brought back; `erased` counts what was taken out of the session by somebody, so that copies of it can be told old.
ALTER TABLE corral.sessions
    ADD COLUMN cold_seq bigint NOT NULL DEFAULT 0,
    ADD COLUMN cold_at double precision NOT NULL DEFAULT 0,
    ADD COLUMN warmed_at double precision NOT NULL DEFAULT 0,
    ADD COLUMN erased bigint NOT NULL DEFAULT 0;

CREATE TABLE corral.segments (
    session     bigint           NOT NULL,
    last_seq    bigint           NOT NULL,
    first_seq   bigint           NOT NULL,
    events      integer          NOT NULL,
    bytes       bigint           NOT NULL,
    object      text COLLATE "C" NOT NULL,
    digest      text             NOT NULL,
    cold_at     double precision NOT NULL,
    next_expiry double precision,
    PRIMARY KEY (session, last_seq)
);
CREATE INDEX segments_by_expiry ON corral.segments (next_expiry) WHERE next_expiry IS NOT NULL;

-- Objects that belong to nobody from `due_at` on: those of segments that are gone, and those that are being written, which
-- are taken out of here by the very transaction that makes a segment of them.
CREATE TABLE corral.segment_litter (
    object   text COLLATE "C" PRIMARY KEY,
    due_at   double precision NOT NULL,
    sweeping boolean          NOT NULL DEFAULT false
);
CREATE INDEX segment_litter_by_due ON corral.segment_litter (due_at);

CREATE FUNCTION corral.segment_goes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO corral.segment_litter (object, due_at) VALUES (old.object, 0) ON CONFLICT (object) DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER segment_goes AFTER DELETE ON corral.segments FOR EACH ROW EXECUTE FUNCTION corral.segment_goes();

CREATE TABLE corral.context_summaries (
    tenant     text COLLATE "C" NOT NULL,
    session_id text COLLATE "C" NOT NULL,
    digest     text COLLATE "C" NOT NULL,
    created_at double precision NOT NULL,
    summary    bytea            NOT NULL,
    PRIMARY KEY (tenant, session_id, digest)
);

CREATE FUNCTION corral.session_leaves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF old.cold_seq > 0 THEN
        DELETE FROM corral.segments WHERE session = old.number;
    END IF;
    DELETE FROM corral.context_summaries WHERE tenant = old.tenant AND session_id = old.session_id;
    RETURN NULL;
END $$;
CREATE TRIGGER session_leaves AFTER DELETE ON corral.sessions FOR EACH ROW EXECUTE FUNCTION corral.session_leaves();

CREATE FUNCTION corral.session_erases() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM corral.context_summaries WHERE tenant = new.tenant AND session_id = new.session_id;
    RETURN NULL;
END $$;
CREATE TRIGGER session_erases AFTER UPDATE OF erased ON corral.sessions
    FOR EACH ROW EXECUTE FUNCTION corral.session_erases();

-- What expires by itself is no longer shown anyway, and what becomes cold is not gone: neither is counted.
CREATE FUNCTION corral.events_erased() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE corral.sessions SET erased = erased + 1
    WHERE number IN (SELECT DISTINCT session FROM gone WHERE expires_at IS NULL OR expires_at > corral.now())
      AND EXISTS (SELECT 1 FROM gone WHERE session = number AND seq > cold_seq);
    RETURN NULL;
END $$;
CREATE TRIGGER events_erased AFTER DELETE ON corral.events REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION corral.events_erased();

-- The oldest events of a session have been written to an object: remove them here, unless anything has changed since.
CREATE FUNCTION corral.cool(
    p_session bigint, p_cold_seq bigint, p_first_seq bigint, p_last_seq bigint, p_events integer, p_bytes bigint,
    p_object text, p_digest text, p_cold_at double precision, p_next_expiry double precision
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_session record;
    v_now double precision := corral.now();
BEGIN
    SELECT tenant, session_id, cold_seq INTO v_session FROM corral.sessions
    WHERE number = p_session AND (expires_at IS NULL OR expires_at > v_now) FOR UPDATE;
    IF NOT FOUND OR v_session.cold_seq <> p_cold_seq OR EXISTS (
        SELECT 1 FROM corral.tickets WHERE tenant = v_session.tenant AND session_id = v_session.session_id
    ) OR p_events <> (
        SELECT count(*) FROM corral.events
        WHERE session = p_session AND seq <= p_last_seq AND (expires_at IS NULL OR expires_at > v_now)
    ) THEN
        RETURN false;
    END IF;
    DELETE FROM corral.segment_litter WHERE object = p_object AND NOT sweeping;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE corral.sessions SET cold_seq = p_last_seq, cold_at = p_cold_at WHERE number = p_session;
    DELETE FROM corral.events WHERE session = p_session AND seq <= p_last_seq;
    INSERT INTO corral.segments (session, last_seq, first_seq, events, bytes, object, digest, cold_at, next_expiry)
    VALUES (p_session, p_last_seq, p_first_seq, p_events, p_bytes, p_object, p_digest, p_cold_at, p_next_expiry);
    RETURN true;
END $$;

-- Bring the events of a session's newest segment back, if it still is that.
CREATE FUNCTION corral.warm(
    p_session bigint, p_object text,
    p_seqs bigint[], p_created double precision[], p_expires double precision[], p_roles text[], p_actors text[],
    p_branches text[], p_turns text[], p_labels text[], p_metadata bytea[], p_contents bytea[]
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_now double precision := corral.now();
BEGIN
    PERFORM 1 FROM corral.sessions WHERE number = p_session FOR UPDATE;
    DELETE FROM corral.segments WHERE session = p_session AND object = p_object
        AND last_seq = (SELECT cold_seq FROM corral.sessions WHERE number = p_session);
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO corral.events
        (session, seq, created_at, expires_at, role, actor, branch, turn, labels, metadata, content)
    SELECT p_session, seq, created_at, expires_at, role, actor, branch, turn, labels::jsonb, metadata, content
    FROM unnest(p_seqs, p_created, p_expires, p_roles, p_actors, p_branches, p_turns, p_labels, p_metadata, p_contents)
        AS back(seq, created_at, expires_at, role, actor, branch, turn, labels, metadata, content)
    WHERE expires_at IS NULL OR expires_at > v_now;
    UPDATE corral.sessions SET
        cold_seq = coalesce((SELECT max(last_seq) FROM corral.segments WHERE session = p_session), 0),
        cold_at = coalesce((SELECT max(cold_at) FROM corral.segments WHERE session = p_session), 0),
        warmed_at = v_now
    WHERE number = p_session;
    RETURN true;
END $$;

-- As before, but for what is cold: who needs it is told so, and nothing is changed.

CREATE OR REPLACE FUNCTION corral.branch_off(
    p_session bigint, p_seq bigint, p_branch text, p_root_seq bigint, p_root_ms bigint
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_left_at bigint := 0;
    v_parent text;
    v_cold_seq bigint;
BEGIN
    IF EXISTS (SELECT 1 FROM corral.branches WHERE session = p_session AND name = p_branch) THEN
        RETURN;
    END IF;
    SELECT cold_seq INTO v_cold_seq FROM corral.sessions WHERE number = p_session;
    IF p_root_seq IS NOT NULL THEN
        SELECT seq, branch INTO v_left_at, v_parent FROM corral.events
        WHERE session = p_session AND seq = p_root_seq AND trunc(created_at * 1000) = p_root_ms
          AND (expires_at IS NULL OR expires_at > corral.now());
        IF NOT FOUND AND p_root_seq <= v_cold_seq THEN
            RAISE EXCEPTION 'the event to branch from is cold' USING ERRCODE = 'CR503';
        ELSIF NOT FOUND THEN
            RAISE EXCEPTION 'no such event to branch from' USING ERRCODE = 'CR404';
        END IF;
    ELSE
        SELECT seq, branch INTO v_left_at, v_parent FROM corral.events
        WHERE session = p_session AND seq < p_seq ORDER BY seq DESC LIMIT 1;
        IF NOT FOUND AND v_cold_seq > 0 THEN
            RAISE EXCEPTION 'the event to branch from is cold' USING ERRCODE = 'CR503';
        END IF;
    END IF;
    INSERT INTO corral.branches (session, name, parent, left_at)
    VALUES (p_session, p_branch, v_parent, coalesce(v_left_at, 0));
END $$;

CREATE OR REPLACE FUNCTION corral.fork(
    p_tenant text, p_session_id text, p_new_id text, p_at_seq bigint, p_at_ms bigint, OUT refused text
) LANGUAGE plpgsql AS $$
DECLARE
    v_now double precision := corral.now();
    v_source bigint;
    v_cold_seq bigint;
    v_copy bigint;
    v_upto bigint := 9223372036854775807;
BEGIN
    SELECT number, cold_seq INTO v_source, v_cold_seq FROM corral.sessions
    WHERE tenant = p_tenant AND session_id = p_session_id AND (expires_at IS NULL OR expires_at > v_now)
    FOR SHARE;
    IF NOT FOUND THEN
        refused := 'no session';
        RETURN;
    END IF;
    IF v_cold_seq > 0 THEN
        refused := 'cold';
        RETURN;
    END IF;
    IF p_at_seq IS NOT NULL THEN
        SELECT seq INTO v_upto FROM corral.events
        WHERE session = v_source AND seq = p_at_seq AND trunc(created_at * 1000) = p_at_ms
          AND (expires_at IS NULL OR expires_at > v_now);
        IF NOT FOUND THEN
            refused := 'no event';
            RETURN;
        END IF;
    END IF;
    DELETE FROM corral.sessions WHERE tenant = p_tenant AND session_id = p_new_id AND expires_at <= v_now;
    INSERT INTO corral.sessions
        (tenant, session_id, actor, created_at, updated_at, last_seq, expires_at, state_version, metadata, state)
    SELECT tenant, p_new_id, actor, v_now, greatest(v_now, updated_at), least(last_seq, v_upto), expires_at,
        state_version, metadata, state
    FROM corral.sessions WHERE number = v_source
    ON CONFLICT (tenant, session_id) DO NOTHING RETURNING number INTO v_copy;
    IF NOT FOUND THEN
        refused := 'exists';
        RETURN;
    END IF;
    INSERT INTO corral.events
        (session, seq, created_at, expires_at, role, actor, branch, turn, labels, metadata, content)
    SELECT v_copy, seq, created_at, expires_at, role, actor, branch, turn, labels, metadata, content
    FROM corral.events WHERE session = v_source AND seq <= v_upto AND (expires_at IS NULL OR expires_at > v_now);
    INSERT INTO corral.branches (session, name, parent, left_at)
    SELECT v_copy, name, parent, left_at FROM corral.branches WHERE session = v_source AND left_at < v_upto;
    INSERT INTO corral.session_actors (tenant, actor, session, last_seen_at)
    SELECT p_tenant, actor, v_copy, max(at) FROM (
        SELECT actor, created_at FROM corral.events WHERE session = v_copy
        UNION ALL
        SELECT actor, created_at FROM corral.sessions WHERE number = v_copy
    ) AS spoke(actor, at) WHERE actor <> '' GROUP BY actor;
END $$;

CREATE OR REPLACE FUNCTION corral.forget_actor(p_tenant text, p_actor text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_session record;
    v_cold_seq bigint;
    v_deleted bigint := 0;
BEGIN
    FOR v_session IN
        SELECT number, session_id FROM corral.session_actors AS seen JOIN corral.sessions ON number = seen.session
        WHERE seen.tenant = p_tenant AND seen.actor = p_actor ORDER BY session_id
    LOOP
        DELETE FROM corral.tickets WHERE tenant = p_tenant AND session_id = v_session.session_id;
        IF FOUND THEN
            PERFORM corral.moved(p_tenant, v_session.session_id);
        END IF;
        SELECT cold_seq INTO v_cold_seq FROM corral.sessions WHERE number = v_session.number FOR UPDATE;
        IF v_cold_seq > 0 THEN
            RAISE EXCEPTION 'a session of the actor is cold' USING ERRCODE = 'CR503';
        END IF;
        IF EXISTS (SELECT 1 FROM corral.events WHERE session = v_session.number AND actor NOT IN ('', p_actor)) THEN
            DELETE FROM corral.events WHERE session = v_session.number AND actor = p_actor;
            DELETE FROM corral.session_actors
            WHERE tenant = p_tenant AND actor = p_actor AND session = v_session.number;
            UPDATE corral.sessions SET actor = '' WHERE number = v_session.number AND actor = p_actor;
        ELSE
            DELETE FROM corral.sessions WHERE number = v_session.number;
            v_deleted := v_deleted + 1;
        END IF;
    END LOOP;
    RETURN v_deleted;
END $$;
