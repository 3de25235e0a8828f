-- What may be spent, and what was.
SELECT 1;
