-- Each entry of the audit holds the one before it. An empty hash: written before the chain, and not yet taken into it.
ALTER TABLE corral.audit ADD COLUMN hash bytea NOT NULL DEFAULT '';

-- The last hash of a tenant, how far the chain has come, and what was swept of it.
ALTER TABLE corral.audit_heads
    ADD COLUMN hash bytea NOT NULL DEFAULT '',
    ADD COLUMN chained bigint NOT NULL DEFAULT 0,
    ADD COLUMN swept bigint NOT NULL DEFAULT 0,
    ADD COLUMN swept_hash bytea NOT NULL DEFAULT '';

-- The chain begins with the oldest entry behind which none is missing: those before it were swept in the order of their age.
UPDATE corral.audit_heads AS head SET swept = coalesce((
    SELECT max(one.number) - 1 FROM corral.audit AS one WHERE one.tenant = head.tenant
        AND NOT EXISTS (
            SELECT 1 FROM corral.audit AS before WHERE before.tenant = one.tenant AND before.number = one.number - 1)
        AND EXISTS (
            SELECT 1 FROM corral.audit AS latest WHERE latest.tenant = one.tenant AND latest.number = head.number)
), head.number);
UPDATE corral.audit_heads SET chained = swept;

-- What keys said about it.
CREATE TABLE corral.audit_checkpoints (
    tenant text COLLATE "C" NOT NULL,
    kind text NOT NULL,
    number bigint NOT NULL,
    hash bytea NOT NULL,
    at double precision NOT NULL,
    algorithm text NOT NULL,
    key_id text NOT NULL,
    signature bytea NOT NULL,
    PRIMARY KEY (tenant, kind, number)
);

DROP FUNCTION corral.append_audit(text[], text[], double precision[], text[], text[], text[], text[], text[], text[], text[],
    text[], text[], bytea[]);

-- Keep entries behind all that their tenants have, each once, and each holding the one before it. Tenants are locked in one
-- order, so that writers never wait for each other in a circle.
CREATE FUNCTION corral.append_audit(
    p_tenants text[], p_ids text[], p_ats double precision[], p_actions text[], p_subjects text[], p_decisions text[],
    p_rules text[], p_reasons text[], p_actors text[], p_agents text[], p_session_ids text[], p_run_ids text[],
    p_details bytea[], p_digests bytea[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    one record;
    head corral.audit_heads%ROWTYPE;
BEGIN
    INSERT INTO corral.audit_heads AS fresh (tenant, number)
    SELECT DISTINCT given.tenant COLLATE "C", 0 FROM unnest(p_tenants) AS given(tenant) ORDER BY 1
    ON CONFLICT (tenant) DO NOTHING;
    PERFORM 1 FROM corral.audit_heads AS held WHERE held.tenant = ANY (p_tenants) ORDER BY held.tenant FOR UPDATE;
    FOR one IN
        SELECT given.* FROM unnest(p_tenants, p_ids, p_ats, p_actions, p_subjects, p_decisions, p_rules, p_reasons, p_actors,
            p_agents, p_session_ids, p_run_ids, p_details, p_digests) WITH ORDINALITY
            AS given(tenant, id, at, action, subject, decision, rule, reason, actor, agent, session_id, run_id, details,
                digest, place)
        ORDER BY given.tenant COLLATE "C", given.place
    LOOP
        IF head.tenant IS DISTINCT FROM one.tenant THEN
            UPDATE corral.audit_heads AS held SET number = head.number, hash = head.hash, chained = head.chained
            WHERE held.tenant = head.tenant;
            SELECT held.* INTO STRICT head FROM corral.audit_heads AS held WHERE held.tenant = one.tenant;
        END IF;
        CONTINUE WHEN EXISTS (SELECT 1 FROM corral.audit AS kept WHERE kept.tenant = one.tenant AND kept.id = one.id);
        head.number := head.number + 1;
        IF head.chained = head.number - 1 THEN
            head.hash := sha256(head.hash || int8send(head.number) || one.digest);
            head.chained := head.number;
        END IF;
        INSERT INTO corral.audit (tenant, number, id, at, action, subject, decision, rule, reason, actor, agent, session_id,
            run_id, details, hash)
        VALUES (one.tenant, head.number, one.id, one.at, one.action, one.subject, one.decision, one.rule, one.reason,
            one.actor, one.agent, one.session_id, one.run_id, one.details,
            CASE WHEN head.chained = head.number THEN head.hash ELSE '' END);
    END LOOP;
    UPDATE corral.audit_heads AS held SET number = head.number, hash = head.hash, chained = head.chained
    WHERE held.tenant = head.tenant;
END $$;

-- Take entries into the chain that were written before there was one, unless somebody else did.
CREATE FUNCTION corral.seal_audit(
    p_tenant text, p_chained bigint, p_numbers bigint[], p_details bytea[], p_digests bytea[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    one record;
    own bytea;
    last bigint;
BEGIN
    SELECT held.hash INTO own FROM corral.audit_heads AS held WHERE held.tenant = p_tenant AND held.chained = p_chained
    FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    FOR one IN
        SELECT given.* FROM unnest(p_numbers, p_details, p_digests) AS given(number, details, digest) ORDER BY given.number
    LOOP
        own := sha256(own || int8send(one.number) || one.digest);
        last := one.number;
        UPDATE corral.audit AS kept SET details = one.details, hash = own
        WHERE kept.tenant = p_tenant AND kept.number = one.number;
    END LOOP;
    UPDATE corral.audit_heads AS held SET chained = coalesce(last, held.chained), hash = own WHERE held.tenant = p_tenant;
END $$;
