"""SQLite: the default, one file, any number of processes of one host."""
