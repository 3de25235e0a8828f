-- Times are seconds since 1970 by the database's clock; JSON is UTF-8 in bytea, because text and jsonb refuse NUL.
-- What must be decided under a lock is a function: one operation is one statement, one round trip, one transaction.
-- Refusals are returned as a word (`busy`, `lost`, …), not raised, so that they do not fill the server's log.

CREATE FUNCTION corral.now() RETURNS double precision LANGUAGE sql VOLATILE
    AS $$ SELECT extract(epoch FROM clock_timestamp())::double precision $$;

-- One line at a time: everything that decides whose turn it is, or relies on it, holds this until its transaction ends.
CREATE FUNCTION corral.lock_line(p_tenant text, p_session_id text) RETURNS void LANGUAGE sql VOLATILE
    AS $$ SELECT pg_advisory_xact_lock(hashtextextended(p_tenant || chr(31) || p_session_id, 7275)) $$;

CREATE FUNCTION corral.moved(p_tenant text, p_session_id text) RETURNS void LANGUAGE sql VOLATILE
    AS $$ SELECT pg_notify('corral_lines', json_build_array(p_tenant, p_session_id)::text) $$;

CREATE TABLE corral.sessions (
    number        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant        text COLLATE "C" NOT NULL,
    session_id    text COLLATE "C" NOT NULL,
    actor         text COLLATE "C" NOT NULL DEFAULT '',
    created_at    double precision NOT NULL,
    updated_at    double precision NOT NULL,
    last_seq      bigint           NOT NULL DEFAULT 0,
    expires_at    double precision,
    state_version bigint           NOT NULL DEFAULT 0,
    metadata      bytea,
    state         bytea,
    UNIQUE (tenant, session_id)
) WITH (fillfactor = 80);
CREATE INDEX sessions_by_activity ON corral.sessions (tenant, updated_at, number);
CREATE INDEX sessions_by_expiry ON corral.sessions (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE corral.events (
    session    bigint           NOT NULL,
    seq        bigint           NOT NULL,
    created_at double precision NOT NULL,
    expires_at double precision,
    role       text             NOT NULL,
    actor      text COLLATE "C" NOT NULL,
    branch     text COLLATE "C" NOT NULL,
    turn       text COLLATE "C",
    labels     jsonb,
    metadata   bytea,
    content    bytea            NOT NULL,
    PRIMARY KEY (session, seq)
) PARTITION BY HASH (session);
CREATE TABLE corral.events_0 PARTITION OF corral.events FOR VALUES WITH (MODULUS 8, REMAINDER 0);
CREATE TABLE corral.events_1 PARTITION OF corral.events FOR VALUES WITH (MODULUS 8, REMAINDER 1);
CREATE TABLE corral.events_2 PARTITION OF corral.events FOR VALUES WITH (MODULUS 8, REMAINDER 2);
CREATE TABLE corral.events_3 PARTITION OF corral.events FOR VALUES WITH (MODULUS 8, REMAINDER 3);
CREATE TABLE corral.events_4 PARTITION OF corral.events FOR VALUES WITH (MODULUS 8, REMAINDER 4);
CREATE TABLE corral.events_5 PARTITION OF corral.events FOR VALUES WITH (MODULUS 8, REMAINDER 5);
CREATE TABLE corral.events_6 PARTITION OF corral.events FOR VALUES WITH (MODULUS 8, REMAINDER 6);
CREATE TABLE corral.events_7 PARTITION OF corral.events FOR VALUES WITH (MODULUS 8, REMAINDER 7);
CREATE INDEX events_by_expiry ON corral.events (expires_at) WHERE expires_at IS NOT NULL;

-- Who spoke where. Rows stay when an event goes, and go with their session.
CREATE TABLE corral.session_actors (
    tenant       text COLLATE "C" NOT NULL,
    actor        text COLLATE "C" NOT NULL,
    session      bigint           NOT NULL,
    last_seen_at double precision NOT NULL,
    PRIMARY KEY (tenant, actor, session)
) WITH (fillfactor = 80);
CREATE INDEX session_actors_by_session ON corral.session_actors (session);

-- Where a branch left which other. `main` has no row.
CREATE TABLE corral.branches (
    session bigint           NOT NULL,
    name    text COLLATE "C" NOT NULL,
    parent  text COLLATE "C",
    left_at bigint           NOT NULL,
    PRIMARY KEY (session, name)
);

CREATE FUNCTION corral.session_goes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM corral.events WHERE session = old.number;
    DELETE FROM corral.session_actors WHERE session = old.number;
    DELETE FROM corral.branches WHERE session = old.number;
    RETURN NULL;
END $$;
CREATE TRIGGER session_goes AFTER DELETE ON corral.sessions FOR EACH ROW EXECUTE FUNCTION corral.session_goes();

-- Whose turn it is. The ticket with the lowest place is the holder. A session need not exist to have a line.
CREATE TABLE corral.tickets (
    tenant      text COLLATE "C" NOT NULL,
    session_id  text COLLATE "C" NOT NULL,
    turn        text COLLATE "C" NOT NULL,
    place       bigint           NOT NULL,
    lease_until double precision NOT NULL,
    PRIMARY KEY (tenant, session_id, turn)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX tickets_in_line ON corral.tickets (tenant, session_id, place);
CREATE INDEX tickets_by_lease ON corral.tickets (lease_until);

-- Answers by idempotency key. Without a reply the run goes on, as long as its lease.
CREATE TABLE corral.invocations (
    tenant      text COLLATE "C" NOT NULL,
    key         text COLLATE "C" NOT NULL,
    fingerprint text             NOT NULL,
    token       text             NOT NULL,
    lease_until double precision NOT NULL,
    ttl_s       double precision NOT NULL,
    expires_at  double precision NOT NULL,
    reply       bytea,
    PRIMARY KEY (tenant, key)
);
CREATE INDEX invocations_by_expiry ON corral.invocations (expires_at);

CREATE TABLE corral.spans (
    tenant     text COLLATE "C" NOT NULL,
    trace_id   text COLLATE "C" NOT NULL,
    span_id    text COLLATE "C" NOT NULL,
    parent_id  text COLLATE "C",
    started_at double precision NOT NULL,
    duration_s double precision NOT NULL,
    name       text             NOT NULL,
    kind       text             NOT NULL,
    status     text             NOT NULL,
    attributes bytea            NOT NULL,
    PRIMARY KEY (tenant, trace_id, span_id)
) PARTITION BY HASH (trace_id);
CREATE TABLE corral.spans_0 PARTITION OF corral.spans FOR VALUES WITH (MODULUS 4, REMAINDER 0);
CREATE TABLE corral.spans_1 PARTITION OF corral.spans FOR VALUES WITH (MODULUS 4, REMAINDER 1);
CREATE TABLE corral.spans_2 PARTITION OF corral.spans FOR VALUES WITH (MODULUS 4, REMAINDER 2);
CREATE TABLE corral.spans_3 PARTITION OF corral.spans FOR VALUES WITH (MODULUS 4, REMAINDER 3);
CREATE INDEX spans_by_start ON corral.spans (tenant, started_at);
CREATE INDEX spans_by_age ON corral.spans (started_at);

-- Whether this turn is the first in the session's line. The caller holds the line's lock. The ticket cannot be deleted
-- until the caller's transaction ends, so that who forgets a tenant or an actor need not lock each of their lines.
CREATE FUNCTION corral.holds(p_tenant text, p_session_id text, p_turn text) RETURNS boolean LANGUAGE sql VOLATILE
    AS $$ SELECT coalesce((
        SELECT turn = p_turn FROM corral.tickets
        WHERE tenant = p_tenant AND session_id = p_session_id ORDER BY place LIMIT 1
        FOR KEY SHARE
    ), false) $$;

-- Make sure the session lives, lock its row, and reserve places. Time never runs backwards within a session, so that
-- event ids sort as places do. An expired session that was not swept yet gives way to a new one.
CREATE FUNCTION corral.touch(
    p_tenant text, p_session_id text, p_actor text, p_events integer, p_ttl_s double precision,
    OUT o_number bigint, OUT o_last_seq bigint, OUT o_now double precision
) LANGUAGE plpgsql AS $$
DECLARE
    v_now double precision := corral.now();
BEGIN
    LOOP
        UPDATE corral.sessions SET
            actor = CASE actor WHEN '' THEN p_actor ELSE actor END,
            updated_at = greatest(updated_at, v_now),
            last_seq = last_seq + p_events,
            expires_at = coalesce(v_now + p_ttl_s, expires_at)
        WHERE tenant = p_tenant AND session_id = p_session_id AND (expires_at IS NULL OR expires_at > v_now)
        RETURNING number, last_seq, updated_at INTO o_number, o_last_seq, o_now;
        EXIT WHEN FOUND;
        DELETE FROM corral.sessions
        WHERE tenant = p_tenant AND session_id = p_session_id AND expires_at <= v_now;
        INSERT INTO corral.sessions (tenant, session_id, actor, created_at, updated_at, last_seq, expires_at)
        VALUES (p_tenant, p_session_id, p_actor, v_now, v_now, p_events, v_now + p_ttl_s)
        ON CONFLICT (tenant, session_id) DO NOTHING
        RETURNING number, last_seq, updated_at INTO o_number, o_last_seq, o_now;
        EXIT WHEN FOUND;
    END LOOP;
END $$;

-- Note where a branch leaves its parent, when this is its first event.
CREATE FUNCTION corral.branch_off(
    p_session bigint, p_seq bigint, p_branch text, p_root_seq bigint, p_root_ms bigint
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_left_at bigint := 0;
    v_parent text;
BEGIN
    IF EXISTS (SELECT 1 FROM corral.branches WHERE session = p_session AND name = p_branch) THEN
        RETURN;
    END IF;
    IF p_root_seq IS NOT NULL THEN
        SELECT seq, branch INTO v_left_at, v_parent FROM corral.events
        WHERE session = p_session AND seq = p_root_seq AND trunc(created_at * 1000) = p_root_ms
          AND (expires_at IS NULL OR expires_at > corral.now());
        IF NOT FOUND THEN
            RAISE EXCEPTION 'no such event to branch from' USING ERRCODE = 'CR404';
        END IF;
    ELSE
        SELECT seq, branch INTO v_left_at, v_parent FROM corral.events
        WHERE session = p_session AND seq < p_seq ORDER BY seq DESC LIMIT 1;
    END IF;
    INSERT INTO corral.branches (session, name, parent, left_at)
    VALUES (p_session, p_branch, v_parent, coalesce(v_left_at, 0));
END $$;

-- Append events at the end of a session; returns the last place and the time they were written at.
CREATE FUNCTION corral.write_events(
    p_tenant text, p_session_id text, p_turn text, p_ttl_s double precision,
    p_roles text[], p_actors text[], p_branches text[], p_root_seqs bigint[], p_root_ms bigint[],
    p_ttls double precision[], p_labels text[], p_metadata bytea[], p_contents bytea[],
    OUT o_last_seq bigint, OUT o_now double precision
) LANGUAGE plpgsql AS $$
DECLARE
    v_events integer := cardinality(p_roles);
    v_actor text := coalesce((SELECT actor FROM unnest(p_actors) WITH ORDINALITY AS spoke(actor, at)
                              WHERE actor <> '' ORDER BY at LIMIT 1), '');
    v_session bigint;
    v_seq bigint;
BEGIN
    SELECT * INTO v_session, o_last_seq, o_now FROM corral.touch(p_tenant, p_session_id, v_actor, v_events, p_ttl_s);
    IF v_actor <> '' THEN
        INSERT INTO corral.session_actors AS seen (tenant, actor, session, last_seen_at)
        SELECT DISTINCT p_tenant, actor, v_session, o_now FROM unnest(p_actors) AS spoke(actor) WHERE actor <> ''
        ON CONFLICT (tenant, actor, session) DO UPDATE SET last_seen_at = excluded.last_seen_at;
    END IF;
    FOR i IN 1 .. v_events LOOP
        v_seq := o_last_seq - v_events + i;
        IF p_branches[i] <> 'main' THEN
            PERFORM corral.branch_off(v_session, v_seq, p_branches[i], p_root_seqs[i], p_root_ms[i]);
        END IF;
        INSERT INTO corral.events
            (session, seq, created_at, expires_at, role, actor, branch, turn, labels, metadata, content)
        VALUES (v_session, v_seq, o_now, o_now + p_ttls[i], p_roles[i], p_actors[i], p_branches[i], p_turn,
            p_labels[i]::jsonb, p_metadata[i], p_contents[i]);
    END LOOP;
END $$;

-- Append, fenced by a turn when one is named.
CREATE FUNCTION corral.append(
    p_tenant text, p_session_id text, p_turn text, p_ttl_s double precision,
    p_roles text[], p_actors text[], p_branches text[], p_root_seqs bigint[], p_root_ms bigint[],
    p_ttls double precision[], p_labels text[], p_metadata bytea[], p_contents bytea[],
    OUT refused text, OUT last_seq bigint, OUT written_at double precision
) LANGUAGE plpgsql AS $$
BEGIN
    IF p_turn IS NOT NULL THEN
        PERFORM corral.lock_line(p_tenant, p_session_id);
        IF NOT corral.holds(p_tenant, p_session_id, p_turn) THEN
            refused := 'lost';
            RETURN;
        END IF;
    END IF;
    IF cardinality(p_roles) > 0 THEN
        SELECT * INTO last_seq, written_at FROM corral.write_events(
            p_tenant, p_session_id, p_turn, p_ttl_s, p_roles, p_actors, p_branches, p_root_seqs, p_root_ms,
            p_ttls, p_labels, p_metadata, p_contents);
    END IF;
END $$;

-- Append, fenced, and give the ticket back; without events only the latter.
CREATE FUNCTION corral.leave(
    p_tenant text, p_session_id text, p_turn text, p_ttl_s double precision,
    p_roles text[], p_actors text[], p_branches text[], p_root_seqs bigint[], p_root_ms bigint[],
    p_ttls double precision[], p_labels text[], p_metadata bytea[], p_contents bytea[],
    OUT refused text
) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM corral.lock_line(p_tenant, p_session_id);
    IF cardinality(p_roles) > 0 THEN
        IF NOT corral.holds(p_tenant, p_session_id, p_turn) THEN
            refused := 'lost';
            RETURN;
        END IF;
        PERFORM corral.write_events(
            p_tenant, p_session_id, p_turn, p_ttl_s, p_roles, p_actors, p_branches, p_root_seqs, p_root_ms,
            p_ttls, p_labels, p_metadata, p_contents);
    END IF;
    DELETE FROM corral.tickets WHERE tenant = p_tenant AND session_id = p_session_id AND turn = p_turn;
    IF FOUND AND EXISTS (SELECT 1 FROM corral.tickets WHERE tenant = p_tenant AND session_id = p_session_id) THEN
        PERFORM corral.moved(p_tenant, p_session_id);
    END IF;
END $$;

-- Whether the turn has come: every ticket before it has gone or run out, and those are removed.
CREATE FUNCTION corral.claim(p_tenant text, p_session_id text, p_turn text, OUT refused text, OUT granted boolean)
LANGUAGE plpgsql AS $$
DECLARE
    v_place bigint;
BEGIN
    PERFORM corral.lock_line(p_tenant, p_session_id);
    SELECT place INTO v_place FROM corral.tickets
    WHERE tenant = p_tenant AND session_id = p_session_id AND turn = p_turn;
    IF NOT FOUND THEN
        refused := 'lost';
        RETURN;
    END IF;
    granted := NOT EXISTS (
        SELECT 1 FROM corral.tickets
        WHERE tenant = p_tenant AND session_id = p_session_id AND place < v_place AND lease_until > corral.now()
    );
    IF granted THEN
        -- A lease that is renewed at this very moment counts: only what is still run out goes, and then we look again.
        DELETE FROM corral.tickets
        WHERE tenant = p_tenant AND session_id = p_session_id AND place < v_place AND lease_until <= corral.now();
        granted := NOT EXISTS (
            SELECT 1 FROM corral.tickets WHERE tenant = p_tenant AND session_id = p_session_id AND place < v_place
        );
    END IF;
END $$;

-- Take a ticket. A refused join changes nothing.
CREATE FUNCTION corral.join_line(
    p_tenant text, p_session_id text, p_turn text, p_policy text, p_lease_s double precision, p_waiting_max integer,
    OUT refused text, OUT granted boolean
) LANGUAGE plpgsql AS $$
DECLARE
    v_now double precision;
    v_length integer;
    v_live integer;
    v_last bigint;
    v_joined boolean;
    v_voided text[];
BEGIN
    PERFORM corral.lock_line(p_tenant, p_session_id);
    v_now := corral.now();
    SELECT count(*), count(*) FILTER (WHERE lease_until > v_now), coalesce(max(place), 0),
        coalesce(bool_or(turn = p_turn), false)
    INTO v_length, v_live, v_last, v_joined
    FROM corral.tickets WHERE tenant = p_tenant AND session_id = p_session_id;
    IF v_joined THEN
        SELECT claimed.refused, claimed.granted INTO refused, granted
        FROM corral.claim(p_tenant, p_session_id, p_turn) AS claimed;
        RETURN;
    END IF;
    IF v_live > 0 AND p_policy = 'reject' THEN
        refused := 'busy';
        RETURN;
    END IF;
    IF p_policy IN ('enqueue', 'reject') THEN
        IF v_live > 0 AND v_live - 1 >= p_waiting_max THEN
            refused := 'full';
            RETURN;
        END IF;
        -- A ticket that a crash of the database takes back is a turn lost, which the fence notices: no need to wait
        -- for the disk here.
        PERFORM set_config('synchronous_commit', 'off', true);
        IF v_length > v_live THEN
            DELETE FROM corral.tickets
            WHERE tenant = p_tenant AND session_id = p_session_id AND lease_until <= v_now;
        END IF;
        granted := v_live = 0;
    ELSE
        granted := true;
        IF v_length > 0 THEN
            WITH voided AS (
                DELETE FROM corral.tickets WHERE tenant = p_tenant AND session_id = p_session_id RETURNING turn
            ) SELECT array_agg(turn) INTO v_voided FROM voided;
            IF p_policy = 'rollback' THEN
                DELETE FROM corral.events WHERE turn = ANY (v_voided) AND session = (
                    SELECT number FROM corral.sessions WHERE tenant = p_tenant AND session_id = p_session_id);
            END IF;
            PERFORM corral.moved(p_tenant, p_session_id);
        END IF;
    END IF;
    INSERT INTO corral.tickets (tenant, session_id, turn, place, lease_until)
    VALUES (p_tenant, p_session_id, p_turn, v_last + 1, v_now + p_lease_s);
END $$;

-- Replace the state, fenced and compared when that is asked for.
CREATE FUNCTION corral.write_state(
    p_tenant text, p_session_id text, p_turn text, p_expected bigint, p_state bytea,
    OUT refused text, OUT version bigint
) LANGUAGE plpgsql AS $$
DECLARE
    v_session bigint;
    v_version bigint;
BEGIN
    IF p_turn IS NOT NULL THEN
        PERFORM corral.lock_line(p_tenant, p_session_id);
        IF NOT corral.holds(p_tenant, p_session_id, p_turn) THEN
            refused := 'lost';
            RETURN;
        END IF;
    END IF;
    IF p_expected IS NOT NULL THEN
        SELECT state_version INTO v_version FROM corral.sessions
        WHERE tenant = p_tenant AND session_id = p_session_id AND (expires_at IS NULL OR expires_at > corral.now())
        FOR UPDATE;
        IF coalesce(v_version, 0) <> p_expected THEN
            refused := 'conflict';
            RETURN;
        END IF;
    END IF;
    SELECT o_number INTO v_session FROM corral.touch(p_tenant, p_session_id, '', 0, NULL);
    UPDATE corral.sessions SET state = p_state, state_version = state_version + 1
    WHERE number = v_session AND (p_expected IS NULL OR state_version = p_expected)
    RETURNING state_version INTO version;
    IF NOT FOUND THEN
        refused := 'conflict';
    END IF;
END $$;

-- Make a session, unless it is there.
CREATE FUNCTION corral.create_session(
    p_tenant text, p_session_id text, p_actor text, p_metadata bytea, p_ttl_s double precision
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_now double precision := corral.now();
    v_session bigint;
BEGIN
    DELETE FROM corral.sessions WHERE tenant = p_tenant AND session_id = p_session_id AND expires_at <= v_now;
    INSERT INTO corral.sessions (tenant, session_id, actor, created_at, updated_at, expires_at, metadata)
    VALUES (p_tenant, p_session_id, p_actor, v_now, v_now, v_now + p_ttl_s, p_metadata)
    ON CONFLICT (tenant, session_id) DO NOTHING RETURNING number INTO v_session;
    IF v_session IS NOT NULL AND p_actor <> '' THEN
        INSERT INTO corral.session_actors (tenant, actor, session, last_seen_at)
        VALUES (p_tenant, p_actor, v_session, v_now);
    END IF;
    RETURN v_session IS NOT NULL;
END $$;

-- Copy a session up to an event under a new id.
CREATE FUNCTION corral.fork(
    p_tenant text, p_session_id text, p_new_id text, p_at_seq bigint, p_at_ms bigint, OUT refused text
) LANGUAGE plpgsql AS $$
DECLARE
    v_now double precision := corral.now();
    v_source bigint;
    v_copy bigint;
    v_upto bigint := 9223372036854775807;
BEGIN
    SELECT number INTO v_source FROM corral.sessions
    WHERE tenant = p_tenant AND session_id = p_session_id AND (expires_at IS NULL OR expires_at > v_now)
    FOR SHARE;
    IF NOT FOUND THEN
        refused := 'no session';
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

-- Forget one session, and void its line.
CREATE FUNCTION corral.forget_session(p_tenant text, p_session_id text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_deleted bigint;
BEGIN
    DELETE FROM corral.tickets WHERE tenant = p_tenant AND session_id = p_session_id;
    IF FOUND THEN
        PERFORM corral.moved(p_tenant, p_session_id);
    END IF;
    DELETE FROM corral.sessions WHERE tenant = p_tenant AND session_id = p_session_id;
    GET DIAGNOSTICS v_deleted = ROW_COUNT;
    RETURN v_deleted;
END $$;

-- Forget all of a tenant's sessions, and void its lines.
CREATE FUNCTION corral.forget_tenant(p_tenant text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_deleted bigint;
BEGIN
    PERFORM corral.moved(tenant, session_id) FROM (
        SELECT DISTINCT tenant, session_id FROM corral.tickets WHERE tenant = p_tenant
    ) AS line;
    DELETE FROM corral.tickets WHERE tenant = p_tenant;
    DELETE FROM corral.sessions WHERE tenant = p_tenant;
    GET DIAGNOSTICS v_deleted = ROW_COUNT;
    RETURN v_deleted;
END $$;

-- Forget an actor: what they said anywhere, and the sessions in which nobody else said anything.
CREATE FUNCTION corral.forget_actor(p_tenant text, p_actor text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_session record;
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
        PERFORM 1 FROM corral.sessions WHERE number = v_session.number FOR UPDATE;
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

-- Claim an idempotency key.
CREATE FUNCTION corral.begin_invocation(
    p_tenant text, p_key text, p_fingerprint text, p_token text, p_lease_s double precision, p_ttl_s double precision,
    OUT outcome text, OUT known_reply bytea
) LANGUAGE plpgsql AS $$
DECLARE
    v_now double precision;
    v_known corral.invocations;
    v_running boolean;
BEGIN
    LOOP
        v_now := corral.now();
        INSERT INTO corral.invocations (tenant, key, fingerprint, token, lease_until, ttl_s, expires_at)
        VALUES (p_tenant, p_key, p_fingerprint, p_token, v_now + p_lease_s, p_ttl_s, v_now + p_ttl_s)
        ON CONFLICT (tenant, key) DO NOTHING;
        IF FOUND THEN
            outcome := 'begun';
            RETURN;
        END IF;
        SELECT * INTO v_known FROM corral.invocations WHERE tenant = p_tenant AND key = p_key FOR UPDATE;
        EXIT WHEN FOUND;
    END LOOP;
    v_now := corral.now();
    v_running := v_known.reply IS NULL AND v_known.lease_until > v_now;
    IF v_known.token = p_token THEN
        outcome := 'begun';  -- The same call again, after its first answer got lost on the way.
    ELSIF (v_running OR v_known.expires_at > v_now) AND v_known.fingerprint <> p_fingerprint THEN
        outcome := 'reused';
    ELSIF v_running THEN
        outcome := 'running';
    ELSIF v_known.reply IS NOT NULL AND v_known.expires_at > v_now THEN
        outcome := 'finished';
        known_reply := v_known.reply;
    ELSE
        UPDATE corral.invocations SET
            fingerprint = p_fingerprint, token = p_token, lease_until = v_now + p_lease_s,
            ttl_s = p_ttl_s, expires_at = v_now + p_ttl_s, reply = NULL
        WHERE tenant = p_tenant AND key = p_key;
        outcome := 'begun';
    END IF;
END $$;
