-- Who waits for which events. A tenant has a few hundred rules at most.
CREATE TABLE corral.event_rules (
    tenant     text COLLATE "C" NOT NULL,
    name       text COLLATE "C" NOT NULL,
    topic      text COLLATE "C" NOT NULL,
    paused     boolean          NOT NULL,
    created_at double precision NOT NULL,
    updated_at double precision NOT NULL,
    body       bytea            NOT NULL,
    PRIMARY KEY (tenant, name)
);
CREATE INDEX event_rules_by_topic ON corral.event_rules (tenant, topic, name);
