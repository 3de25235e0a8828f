-- What came of calls of tools, by idempotency key. Without a reply the call goes on, as long as its lease.
CREATE TABLE corral.tool_effects (
    tenant      text COLLATE "C" NOT NULL,
    key         text COLLATE "C" NOT NULL,
    fingerprint text             NOT NULL,
    tool        text             NOT NULL,
    token       text             NOT NULL,
    begun_at    double precision NOT NULL,
    lease_until double precision NOT NULL,
    ttl_s       double precision NOT NULL,
    expires_at  double precision NOT NULL,
    reply       bytea,
    PRIMARY KEY (tenant, key)
) PARTITION BY HASH (key);
CREATE TABLE corral.tool_effects_0 PARTITION OF corral.tool_effects FOR VALUES WITH (MODULUS 4, REMAINDER 0) WITH (fillfactor = 70);
CREATE TABLE corral.tool_effects_1 PARTITION OF corral.tool_effects FOR VALUES WITH (MODULUS 4, REMAINDER 1) WITH (fillfactor = 70);
CREATE TABLE corral.tool_effects_2 PARTITION OF corral.tool_effects FOR VALUES WITH (MODULUS 4, REMAINDER 2) WITH (fillfactor = 70);
CREATE TABLE corral.tool_effects_3 PARTITION OF corral.tool_effects FOR VALUES WITH (MODULUS 4, REMAINDER 3) WITH (fillfactor = 70);
CREATE INDEX tool_effects_by_expiry ON corral.tool_effects (expires_at);

-- Claim a key. What was claimed under the same token is the same claim, whose first answer got lost on the way.
CREATE FUNCTION corral.begin_effect(
    p_tenant text, p_key text, p_fingerprint text, p_tool text, p_token text, p_lease_s double precision,
    p_ttl_s double precision, p_take_over boolean,
    OUT o_outcome text, OUT o_left double precision, OUT o_reply bytea, OUT o_tool text, OUT o_begun_at double precision
) LANGUAGE plpgsql AS $$
DECLARE
    v_now   double precision;
    v_known corral.tool_effects;
BEGIN
    LOOP
        v_now := corral.now();
        INSERT INTO corral.tool_effects (tenant, key, fingerprint, tool, token, begun_at, lease_until, ttl_s, expires_at)
        VALUES (p_tenant, p_key, p_fingerprint, p_tool, p_token, v_now, v_now + p_lease_s, p_ttl_s, v_now + p_ttl_s)
        ON CONFLICT (tenant, key) DO NOTHING;
        IF FOUND THEN
            o_outcome := 'begun';
            RETURN;
        END IF;
        SELECT * INTO v_known FROM corral.tool_effects WHERE tenant = p_tenant AND key = p_key FOR UPDATE;
        EXIT WHEN FOUND;
    END LOOP;
    v_now := corral.now();
    o_tool := v_known.tool;
    o_begun_at := v_known.begun_at;
    o_left := v_known.lease_until - v_now;
    IF v_known.token = p_token AND v_known.reply IS NULL THEN
        o_outcome := 'begun';
    ELSIF v_known.expires_at <= v_now AND (v_known.reply IS NOT NULL OR o_left <= 0) THEN
        o_outcome := 'begun';
    ELSIF v_known.fingerprint <> p_fingerprint THEN
        o_outcome := 'reused';
        RETURN;
    ELSIF v_known.reply IS NOT NULL THEN
        o_outcome := 'ended';
        o_reply := v_known.reply;
        RETURN;
    ELSIF o_left > 0 THEN
        o_outcome := 'running';
        RETURN;
    ELSIF p_take_over THEN
        o_outcome := 'again';
    ELSE
        o_outcome := 'unknown';
        RETURN;
    END IF;
    UPDATE corral.tool_effects SET
        fingerprint = p_fingerprint, tool = p_tool, token = p_token, begun_at = v_now, lease_until = v_now + p_lease_s,
        ttl_s = p_ttl_s, expires_at = v_now + p_ttl_s, reply = NULL
    WHERE tenant = p_tenant AND key = p_key;
END $$;

-- Results too long for a conversation.
CREATE TABLE corral.tool_artefacts (
    tenant     text COLLATE "C" NOT NULL,
    owner      text COLLATE "C" NOT NULL,
    name       text COLLATE "C" NOT NULL,
    expires_at double precision NOT NULL,
    body       bytea            NOT NULL,
    PRIMARY KEY (tenant, owner, name)
) PARTITION BY HASH (name);
CREATE TABLE corral.tool_artefacts_0 PARTITION OF corral.tool_artefacts FOR VALUES WITH (MODULUS 4, REMAINDER 0);
CREATE TABLE corral.tool_artefacts_1 PARTITION OF corral.tool_artefacts FOR VALUES WITH (MODULUS 4, REMAINDER 1);
CREATE TABLE corral.tool_artefacts_2 PARTITION OF corral.tool_artefacts FOR VALUES WITH (MODULUS 4, REMAINDER 2);
CREATE TABLE corral.tool_artefacts_3 PARTITION OF corral.tool_artefacts FOR VALUES WITH (MODULUS 4, REMAINDER 3);
CREATE INDEX tool_artefacts_by_expiry ON corral.tool_artefacts (expires_at);
