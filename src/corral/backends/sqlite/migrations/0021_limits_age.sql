-- When a limit was last changed: what nobody changed for long is as good as new, and is swept away.
ALTER TABLE limits ADD COLUMN at REAL NOT NULL DEFAULT 0;

UPDATE limits SET at = unixepoch();
