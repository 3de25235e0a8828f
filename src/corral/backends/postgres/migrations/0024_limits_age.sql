-- When a limit was last changed: what nobody changed for long is as good as new, and is swept away. No index: a change
-- stays on its page, and sweeps come once an hour.
ALTER TABLE corral.limits ADD COLUMN at double precision NOT NULL DEFAULT corral.now();

-- Put a body where the version is still that; what is there now. Versions begin with the time, so that a key that was
-- swept away and came back is never taken for what it was.
CREATE OR REPLACE FUNCTION corral.swap_limit(p_key text, p_version bigint, p_body bytea)
RETURNS TABLE (done boolean, body bytea, version bigint, now double precision) LANGUAGE plpgsql AS $$
DECLARE
    v_done boolean;
    v_now double precision := corral.now();
BEGIN
    IF p_version = 0 THEN
        INSERT INTO corral.limits AS kept VALUES (p_key, floor(v_now * 1000000)::bigint, p_body, v_now)
        ON CONFLICT DO NOTHING;
    ELSE
        UPDATE corral.limits AS kept SET version = p_version + 1, body = p_body, at = v_now
        WHERE kept.key = p_key AND kept.version = p_version;
    END IF;
    v_done := FOUND;
    RETURN QUERY SELECT v_done, kept.body, kept.version, corral.now() FROM corral.limits AS kept WHERE kept.key = p_key;
    IF NOT FOUND THEN
        RETURN QUERY SELECT false, ''::bytea, 0::bigint, corral.now();
    END IF;
END $$;
