-- What was spent of a budget by one of those it is counted for, in one period: small, and changed by comparing versions.
CREATE TABLE corral.budgets (
    tenant text COLLATE "C" NOT NULL,
    budget text COLLATE "C" NOT NULL,
    period text COLLATE "C" NOT NULL,
    who text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    body bytea NOT NULL,
    until double precision,
    PRIMARY KEY (tenant, budget, period, who)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

CREATE INDEX budgets_until ON corral.budgets (until) WHERE until IS NOT NULL;

-- How much may be spent, where an operator said so.
CREATE TABLE corral.budget_terms (
    tenant text COLLATE "C" NOT NULL,
    budget text COLLATE "C" NOT NULL,
    who text COLLATE "C" NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (tenant, budget, who)
);

-- Put bodies where the versions are still those, all of them or none; whether that was so. They come in one order,
-- so that nobody waits for one who waits for him.
CREATE FUNCTION corral.swap_budgets(
    p_tenants text[], p_budgets text[], p_periods text[], p_accounts text[], p_versions bigint[], p_bodies bytea[],
    p_expiries double precision[]
) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. cardinality(p_tenants) LOOP
        IF p_versions[i] = 0 THEN
            INSERT INTO corral.budgets
            VALUES (p_tenants[i], p_budgets[i], p_periods[i], p_accounts[i], 1, p_bodies[i], p_expiries[i])
            ON CONFLICT DO NOTHING;
        ELSE
            UPDATE corral.budgets SET version = version + 1, body = p_bodies[i], until = p_expiries[i]
            WHERE tenant = p_tenants[i] AND budget = p_budgets[i] AND period = p_periods[i] AND who = p_accounts[i]
                AND version = p_versions[i];
        END IF;
        IF NOT FOUND THEN
            RAISE EXCEPTION USING ERRCODE = 'CB001';
        END IF;
    END LOOP;
    RETURN true;
EXCEPTION WHEN SQLSTATE 'CB001' THEN
    RETURN false;
END $$;

-- What runs in a worker now, as it says itself every moment.
CREATE UNLOGGED TABLE corral.running_boards (
    worker text COLLATE "C" PRIMARY KEY,
    at double precision NOT NULL,
    body bytea NOT NULL
);

-- What workers are asked to stop.
CREATE TABLE corral.stop_orders (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at double precision NOT NULL,
    body bytea NOT NULL
);
