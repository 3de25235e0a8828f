"""PostgreSQL: many machines on one database. Needs `pip install 'corral[postgres]'`."""
