-- Each entry of the audit holds the one before it. An empty hash: written before the chain, and not yet taken into it.
ALTER TABLE audit ADD COLUMN hash BLOB NOT NULL DEFAULT x'';

-- The last hash of a tenant, how far the chain has come, and what was swept of it.
ALTER TABLE audit_heads ADD COLUMN hash BLOB NOT NULL DEFAULT x'';
ALTER TABLE audit_heads ADD COLUMN chained INTEGER NOT NULL DEFAULT 0;
ALTER TABLE audit_heads ADD COLUMN swept INTEGER NOT NULL DEFAULT 0;
ALTER TABLE audit_heads ADD COLUMN swept_hash BLOB NOT NULL DEFAULT x'';

-- Hashes are made by who appends, and with them the heads.
DROP TRIGGER audit_numbers;

-- The chain begins with the oldest entry behind which none is missing: those before it were swept in the order of their age.
UPDATE audit_heads SET swept = coalesce((
    SELECT max(one.number) - 1 FROM audit AS one WHERE one.tenant = audit_heads.tenant
        AND NOT EXISTS (SELECT 1 FROM audit AS before WHERE before.tenant = one.tenant AND before.number = one.number - 1)
        AND EXISTS (SELECT 1 FROM audit AS latest WHERE latest.tenant = one.tenant AND latest.number = audit_heads.number)
), number);
UPDATE audit_heads SET chained = swept;

-- What keys said about it.
CREATE TABLE audit_checkpoints (
    tenant TEXT NOT NULL,
    kind TEXT NOT NULL,
    number INTEGER NOT NULL,
    hash BLOB NOT NULL,
    at REAL NOT NULL,
    algorithm TEXT NOT NULL,
    key_id TEXT NOT NULL,
    signature BLOB NOT NULL,
    PRIMARY KEY (tenant, kind, number)
) WITHOUT ROWID;
