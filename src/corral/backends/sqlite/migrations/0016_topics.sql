-- Who waits for which events.
CREATE TABLE event_rules (
    tenant     TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    topic      TEXT    NOT NULL,
    paused     INTEGER NOT NULL,
    created_at REAL    NOT NULL,
    updated_at REAL    NOT NULL,
    body       BLOB    NOT NULL,
    UNIQUE (tenant, name)
);
CREATE INDEX event_rules_by_topic ON event_rules (tenant, topic, name);
