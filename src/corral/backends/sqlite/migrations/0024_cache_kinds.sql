-- Every entry was a row of this as well, for a sum that is seldom asked for and that reading all entries gives in milliseconds.
DROP INDEX IF EXISTS cache_entries_by_kind;
