-- Entries of the cache. They may be lost in a crash of the server: that halves what writing them costs.
CREATE TABLE corral.cache_entries (
    tenant      text COLLATE "C" NOT NULL,
    key         bytea            NOT NULL,
    kind        text COLLATE "C" NOT NULL,
    size        integer          NOT NULL,
    created_at  double precision NOT NULL,
    fresh_until double precision NOT NULL,
    expires_at  double precision NOT NULL,
    used_at     double precision NOT NULL,
    tags        text[] COLLATE "C",
    value       bytea            NOT NULL,
    PRIMARY KEY (tenant, key)
) PARTITION BY HASH (key);
CREATE UNLOGGED TABLE corral.cache_entries_0 PARTITION OF corral.cache_entries FOR VALUES WITH (MODULUS 4, REMAINDER 0);
CREATE UNLOGGED TABLE corral.cache_entries_1 PARTITION OF corral.cache_entries FOR VALUES WITH (MODULUS 4, REMAINDER 1);
CREATE UNLOGGED TABLE corral.cache_entries_2 PARTITION OF corral.cache_entries FOR VALUES WITH (MODULUS 4, REMAINDER 2);
CREATE UNLOGGED TABLE corral.cache_entries_3 PARTITION OF corral.cache_entries FOR VALUES WITH (MODULUS 4, REMAINDER 3);
CREATE INDEX cache_entries_by_expiry ON corral.cache_entries (expires_at);
CREATE INDEX cache_entries_by_use ON corral.cache_entries (used_at, size);
CREATE INDEX cache_entries_by_kind ON corral.cache_entries (tenant, kind, size);
CREATE INDEX cache_entries_by_tag ON corral.cache_entries USING gin (tags) WHERE tags IS NOT NULL;

-- Who asks for a value now.
CREATE UNLOGGED TABLE corral.cache_leases (
    tenant      text COLLATE "C" NOT NULL,
    key         bytea            NOT NULL,
    holder      text COLLATE "C" NOT NULL,
    lease_until double precision NOT NULL,
    PRIMARY KEY (tenant, key)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
CREATE INDEX cache_leases_by_end ON corral.cache_leases (lease_until);

-- Grows with every clearing.
CREATE TABLE corral.cache_generations (
    tenant     text COLLATE "C" PRIMARY KEY,
    generation bigint           NOT NULL
);

CREATE TABLE corral.cache_totals (
    tenant    text COLLATE "C" NOT NULL,
    kind      text COLLATE "C" NOT NULL,
    hits      bigint           NOT NULL,
    misses    bigint           NOT NULL,
    saved_usd double precision NOT NULL,
    PRIMARY KEY (tenant, kind)
) WITH (fillfactor = 50);

-- The value of a key that came meanwhile, or else the right to ask for it.
CREATE FUNCTION corral.cache_claim(
    p_tenant text, p_key bytea, p_holder text, p_lease_s double precision,
    OUT o_ours boolean, OUT o_value bytea, OUT o_age double precision, OUT o_fresh double precision,
    OUT o_left double precision
) LANGUAGE plpgsql AS $$
DECLARE
    v_now double precision := corral.now();
BEGIN
    SELECT value, v_now - created_at, fresh_until - v_now, expires_at - v_now INTO o_value, o_age, o_fresh, o_left
    FROM corral.cache_entries WHERE tenant = p_tenant AND key = p_key AND fresh_until > v_now;
    IF FOUND THEN
        o_ours := false;
        RETURN;
    END IF;
    INSERT INTO corral.cache_leases AS lease (tenant, key, holder, lease_until)
    VALUES (p_tenant, p_key, p_holder, v_now + p_lease_s)
    ON CONFLICT (tenant, key) DO UPDATE SET holder = excluded.holder, lease_until = excluded.lease_until
    WHERE lease.holder = excluded.holder OR lease.lease_until <= v_now;
    o_ours := FOUND;
    IF o_ours THEN  -- the last holder may have put the value between our look and its leaving
        SELECT value, v_now - created_at, fresh_until - v_now, expires_at - v_now INTO o_value, o_age, o_fresh, o_left
        FROM corral.cache_entries WHERE tenant = p_tenant AND key = p_key AND fresh_until > v_now;
        IF FOUND THEN
            DELETE FROM corral.cache_leases WHERE tenant = p_tenant AND key = p_key AND holder = p_holder;
            o_ours := false;
        END IF;
    END IF;
END $$;

-- Keep values if the tenant was not cleared meanwhile; their leases end either way. A clearing waits for those who keep,
-- and those who keep wait for a clearing: what was asked before it is not kept after it.
CREATE FUNCTION corral.cache_put(
    p_tenant text, p_keys bytea[], p_values bytea[], p_kinds text[], p_ttls double precision[], p_stales double precision[],
    p_tags text[], p_generations bigint[]
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_now        double precision;
    v_generation bigint;
    v_kept       bigint;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('cache ' || p_tenant, 0));
    v_now := corral.now();
    SELECT generation INTO v_generation FROM corral.cache_generations WHERE tenant = p_tenant;
    INSERT INTO corral.cache_entries AS entry
        (tenant, key, kind, size, created_at, fresh_until, expires_at, used_at, tags, value)
    SELECT p_tenant, one.key, one.kind, octet_length(one.value), v_now, v_now + one.ttl, v_now + one.ttl + one.stale, v_now,
        CASE one.tags WHEN '' THEN NULL ELSE ARRAY(SELECT json_array_elements_text(one.tags::json)) END, one.value
    FROM unnest(p_keys, p_values, p_kinds, p_ttls, p_stales, p_tags, p_generations)
        AS one (key, value, kind, ttl, stale, tags, generation)
    WHERE one.generation IS NULL OR one.generation = coalesce(v_generation, 0)
    ORDER BY one.key
    ON CONFLICT (tenant, key) DO UPDATE SET
        kind = excluded.kind, size = excluded.size, created_at = excluded.created_at, fresh_until = excluded.fresh_until,
        expires_at = excluded.expires_at, used_at = excluded.used_at, tags = excluded.tags, value = excluded.value;
    GET DIAGNOSTICS v_kept = ROW_COUNT;
    DELETE FROM corral.cache_leases WHERE tenant = p_tenant AND key = ANY (p_keys);
    RETURN v_kept;
END $$;

-- Throw away a tenant's entries: under any of these tags (none given: all), of one kind (none given: of all).
CREATE FUNCTION corral.cache_drop(p_tenant text, p_tags text[], p_kind text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_gone bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('cache ' || p_tenant, 0));
    INSERT INTO corral.cache_generations AS known (tenant, generation) VALUES (p_tenant, 1)
    ON CONFLICT (tenant) DO UPDATE SET generation = known.generation + 1;
    IF p_tags IS NULL THEN
        DELETE FROM corral.cache_entries WHERE tenant = p_tenant AND (p_kind IS NULL OR kind = p_kind);
    ELSE
        DELETE FROM corral.cache_entries
        WHERE tenant = p_tenant AND tags IS NOT NULL AND tags && p_tags AND (p_kind IS NULL OR kind = p_kind);
    END IF;
    GET DIAGNOSTICS v_gone = ROW_COUNT;
    RETURN v_gone;
END $$;

-- What is past its time, then what was not used for the longest time until the rest fits.
CREATE FUNCTION corral.cache_sweep(p_entries_max bigint, p_bytes_max bigint, p_limit bigint) RETURNS bigint
    LANGUAGE plpgsql AS $$
DECLARE
    v_now     double precision := corral.now();
    v_gone    bigint;
    v_more    bigint;
    v_entries bigint;
    v_bytes   bigint;
BEGIN
    DELETE FROM corral.cache_leases WHERE (tenant, key) IN (
        SELECT tenant, key FROM corral.cache_leases WHERE lease_until <= v_now
        ORDER BY lease_until LIMIT p_limit FOR UPDATE SKIP LOCKED);
    DELETE FROM corral.cache_entries WHERE (tenant, key) IN (
        SELECT tenant, key FROM corral.cache_entries WHERE expires_at <= v_now
        ORDER BY expires_at LIMIT p_limit FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS v_gone = ROW_COUNT;
    SELECT count(*), coalesce(sum(size), 0) INTO v_entries, v_bytes FROM corral.cache_entries;
    IF v_gone >= p_limit OR (v_entries <= p_entries_max AND v_bytes <= p_bytes_max) THEN
        RETURN v_gone;
    END IF;
    DELETE FROM corral.cache_entries WHERE (tenant, key) IN (
        SELECT oldest.tenant, oldest.key FROM (
            SELECT first.*, row_number() OVER in_order AS place, sum(first.size) OVER in_order AS gone
            FROM (
                SELECT tenant, key, used_at, size FROM corral.cache_entries
                ORDER BY used_at, key LIMIT p_limit - v_gone
            ) AS first
            WINDOW in_order AS (ORDER BY first.used_at, first.key ROWS UNBOUNDED PRECEDING)
        ) AS oldest
        WHERE oldest.place <= v_entries - p_entries_max OR oldest.gone - oldest.size < v_bytes - p_bytes_max
    );
    GET DIAGNOSTICS v_more = ROW_COUNT;
    RETURN v_gone + v_more;
END $$;
