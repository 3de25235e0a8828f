-- Each entry of the audit holds the one before it.
SELECT 1;
