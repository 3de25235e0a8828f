-- API keys, of which only a digest is kept.
SELECT 1;
