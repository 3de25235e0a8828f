-- What was spent of a budget by one of those it is counted for, in one period: small, and changed by comparing versions.
CREATE TABLE budgets (
    tenant TEXT NOT NULL,
    budget TEXT NOT NULL,
    period TEXT NOT NULL,
    who TEXT NOT NULL,
    version INTEGER NOT NULL,
    body BLOB NOT NULL,
    until REAL,
    PRIMARY KEY (tenant, budget, period, who)
) WITHOUT ROWID;

CREATE INDEX budgets_until ON budgets (until) WHERE until IS NOT NULL;

-- How much may be spent, where an operator said so.
CREATE TABLE budget_terms (
    tenant TEXT NOT NULL,
    budget TEXT NOT NULL,
    who TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (tenant, budget, who)
) WITHOUT ROWID;

-- What runs in a worker now, as it says itself every moment.
CREATE TABLE running_boards (
    worker TEXT PRIMARY KEY,
    at REAL NOT NULL,
    body BLOB NOT NULL
) WITHOUT ROWID;

-- What workers are asked to stop.
CREATE TABLE stop_orders (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    body BLOB NOT NULL
);
