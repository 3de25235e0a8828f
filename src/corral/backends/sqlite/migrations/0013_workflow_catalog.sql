-- Definitions of workflows, each once however often it is named. The machines that name them are resources.
CREATE TABLE workflow_definitions (
    tenant     TEXT NOT NULL,
    digest     TEXT NOT NULL,
    created_at REAL NOT NULL,
    body       BLOB NOT NULL,
    PRIMARY KEY (tenant, digest)
);
