-- What is declared: memories with their strategies, runtimes with versions and endpoints, as small JSON documents.

CREATE TABLE corral.resources (
    number     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant     text COLLATE "C" NOT NULL,
    kind       text COLLATE "C" NOT NULL,
    id         text COLLATE "C" NOT NULL,
    parent     text COLLATE "C" NOT NULL,
    name       text COLLATE "C" NOT NULL,
    revision   bigint NOT NULL DEFAULT 1,
    created_at double precision NOT NULL,
    updated_at double precision NOT NULL,
    expires_at double precision,
    body       bytea NOT NULL,
    UNIQUE (tenant, kind, id)
);
CREATE UNIQUE INDEX resources_by_name ON corral.resources (tenant, kind, parent, name) WHERE name <> '';
CREATE INDEX resources_by_parent ON corral.resources (tenant, parent, kind, number);
CREATE INDEX resources_by_expiry ON corral.resources (expires_at) WHERE expires_at IS NOT NULL;

-- Declare all or none; true: done, false: an id or a name is taken.
CREATE FUNCTION corral.create_resources(
    p_tenant text, p_kinds text[], p_ids text[], p_parents text[], p_names text[], p_bodies bytea[],
    p_ttls double precision[]
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_now double precision := corral.now();
BEGIN
    DELETE FROM corral.resources AS old USING unnest(p_kinds, p_ids, p_parents, p_names) AS new(kind, id, parent, name)
    WHERE old.tenant = p_tenant AND old.kind = new.kind AND old.expires_at <= v_now
      AND (old.id = new.id OR (old.parent = new.parent AND old.name = new.name AND new.name <> ''));
    INSERT INTO corral.resources (tenant, kind, id, parent, name, created_at, updated_at, expires_at, body)
    SELECT p_tenant, kind, id, parent, name, v_now, v_now, v_now + ttl, body
    FROM unnest(p_kinds, p_ids, p_parents, p_names, p_bodies, p_ttls) WITH ORDINALITY
        AS new(kind, id, parent, name, body, ttl, place)
    ORDER BY place;
    RETURN true;
EXCEPTION WHEN unique_violation THEN
    RETURN false;
END $$;

-- Replace a body if nobody did since, and declare others with it.
CREATE FUNCTION corral.change_resource(
    p_tenant text, p_kind text, p_id text, p_revision bigint, p_body bytea,
    p_kinds text[], p_ids text[], p_parents text[], p_names text[], p_bodies bytea[], p_ttls double precision[]
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_revision bigint;
BEGIN
    SELECT revision INTO v_revision FROM corral.resources
    WHERE tenant = p_tenant AND kind = p_kind AND id = p_id AND (expires_at IS NULL OR expires_at > corral.now())
    FOR UPDATE;
    IF NOT FOUND THEN
        RETURN 'gone';
    END IF;
    IF v_revision <> p_revision THEN
        RETURN 'changed';
    END IF;
    IF NOT corral.create_resources(p_tenant, p_kinds, p_ids, p_parents, p_names, p_bodies, p_ttls) THEN
        RETURN 'taken';
    END IF;
    UPDATE corral.resources
    SET body = p_body, revision = revision + 1, updated_at = greatest(updated_at, corral.now())
    WHERE tenant = p_tenant AND kind = p_kind AND id = p_id;
    RETURN '';
END $$;
