-- Who did what, and by which rule. Numbered without a gap within a tenant; `details` is JSON.
CREATE TABLE corral.audit (
    tenant text COLLATE "C" NOT NULL,
    number bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    at double precision NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    decision text NOT NULL,
    rule text NOT NULL,
    reason text NOT NULL,
    actor text NOT NULL,
    agent text NOT NULL,
    session_id text NOT NULL,
    run_id text COLLATE "C" NOT NULL,
    details bytea NOT NULL,
    PRIMARY KEY (tenant, number),
    UNIQUE (tenant, id)
) PARTITION BY HASH (tenant);
CREATE TABLE corral.audit_0 PARTITION OF corral.audit FOR VALUES WITH (MODULUS 4, REMAINDER 0);
CREATE TABLE corral.audit_1 PARTITION OF corral.audit FOR VALUES WITH (MODULUS 4, REMAINDER 1);
CREATE TABLE corral.audit_2 PARTITION OF corral.audit FOR VALUES WITH (MODULUS 4, REMAINDER 2);
CREATE TABLE corral.audit_3 PARTITION OF corral.audit FOR VALUES WITH (MODULUS 4, REMAINDER 3);
CREATE INDEX audit_by_run ON corral.audit (tenant, run_id, number);
CREATE INDEX audit_by_age ON corral.audit (at);

-- The last number each tenant got: it outlives the entries, and who writes holds it until the transaction ends.
CREATE TABLE corral.audit_heads (
    tenant text COLLATE "C" PRIMARY KEY,
    number bigint NOT NULL
) WITH (fillfactor = 50);

-- Keep entries behind all that their tenants have, each once. Tenants are locked in one order, so that writers never
-- wait for each other in a circle.
CREATE FUNCTION corral.append_audit(
    p_tenants text[], p_ids text[], p_ats double precision[], p_actions text[], p_subjects text[], p_decisions text[],
    p_rules text[], p_reasons text[], p_actors text[], p_agents text[], p_session_ids text[], p_run_ids text[],
    p_details bytea[]
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO corral.audit_heads AS head (tenant, number)
    SELECT DISTINCT one.tenant COLLATE "C", 0 FROM unnest(p_tenants) AS one(tenant) ORDER BY 1
    ON CONFLICT (tenant) DO NOTHING;
    PERFORM 1 FROM corral.audit_heads AS head WHERE head.tenant = ANY (p_tenants) ORDER BY head.tenant FOR UPDATE;
    WITH given AS (
        SELECT DISTINCT ON (one.tenant, one.id) one.*
        FROM unnest(p_tenants, p_ids, p_ats, p_actions, p_subjects, p_decisions, p_rules, p_reasons, p_actors, p_agents,
            p_session_ids, p_run_ids, p_details) WITH ORDINALITY
            AS one(tenant, id, at, action, subject, decision, rule, reason, actor, agent, session_id, run_id, details, place)
        WHERE NOT EXISTS (SELECT 1 FROM corral.audit AS kept WHERE kept.tenant = one.tenant AND kept.id = one.id)
        ORDER BY one.tenant, one.id, one.place
    ), added AS (
        INSERT INTO corral.audit (tenant, number, id, at, action, subject, decision, rule, reason, actor, agent,
            session_id, run_id, details)
        SELECT given.tenant, head.number + row_number() OVER (PARTITION BY given.tenant ORDER BY given.place), given.id,
            given.at, given.action, given.subject, given.decision, given.rule, given.reason, given.actor, given.agent,
            given.session_id, given.run_id, given.details
        FROM given JOIN corral.audit_heads AS head ON head.tenant = given.tenant
        RETURNING tenant, number
    )
    UPDATE corral.audit_heads AS head SET number = latest.number
    FROM (SELECT added.tenant, max(added.number) AS number FROM added GROUP BY added.tenant) AS latest
    WHERE head.tenant = latest.tenant;
END $$;
