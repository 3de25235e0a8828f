-- Who did what, and by which rule. Numbered without a gap within a tenant; `details` is JSON.
CREATE TABLE audit (
    tenant TEXT NOT NULL,
    number INTEGER NOT NULL,
    id TEXT NOT NULL,
    at REAL NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    decision TEXT NOT NULL,
    rule TEXT NOT NULL,
    reason TEXT NOT NULL,
    actor TEXT NOT NULL,
    agent TEXT NOT NULL,
    session_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    details BLOB NOT NULL,
    PRIMARY KEY (tenant, number),
    UNIQUE (tenant, id)
) WITHOUT ROWID;

CREATE INDEX audit_by_run ON audit (tenant, run_id, number);
CREATE INDEX audit_by_age ON audit (at);

-- The last number each tenant got: it outlives the entries.
CREATE TABLE audit_heads (
    tenant TEXT PRIMARY KEY,
    number INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TRIGGER audit_numbers AFTER INSERT ON audit BEGIN
    INSERT INTO audit_heads (tenant, number) VALUES (NEW.tenant, NEW.number)
    ON CONFLICT (tenant) DO UPDATE SET number = excluded.number;
END;
