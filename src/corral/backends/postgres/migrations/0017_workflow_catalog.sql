-- Definitions of workflows, each once however often it is named. The machines that name them are resources.
CREATE TABLE corral.workflow_definitions (
    tenant     text COLLATE "C" NOT NULL,
    digest     text COLLATE "C" NOT NULL,
    created_at double precision NOT NULL,
    body       bytea            NOT NULL,
    PRIMARY KEY (tenant, digest)
);
