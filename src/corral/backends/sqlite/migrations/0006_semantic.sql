-- Answers that are found by meaning. What is looked at often is apart from what is large.
CREATE TABLE semantic_answers (
    number     INTEGER PRIMARY KEY,
    tenant     TEXT    NOT NULL,
    id         BLOB    NOT NULL,
    scope      BLOB    NOT NULL,
    change     INTEGER NOT NULL,
    question   TEXT    NOT NULL,
    wrong      REAL    NOT NULL,
    created_at REAL    NOT NULL,
    expires_at REAL    NOT NULL,
    used_at    REAL    NOT NULL,
    UNIQUE (tenant, id)
);
CREATE INDEX semantic_answers_by_change ON semantic_answers (tenant, scope, change);
CREATE INDEX semantic_answers_by_use ON semantic_answers (tenant, scope, used_at);
CREATE INDEX semantic_answers_by_expiry ON semantic_answers (expires_at);

CREATE TABLE semantic_bodies (
    answer INTEGER PRIMARY KEY,
    vector BLOB NOT NULL,
    value  BLOB NOT NULL
);

CREATE TABLE semantic_tags (
    tenant TEXT    NOT NULL,
    tag    TEXT    NOT NULL,
    answer INTEGER NOT NULL,
    PRIMARY KEY (tenant, tag, answer)
) WITHOUT ROWID;
CREATE INDEX semantic_tags_by_answer ON semantic_tags (answer);

CREATE TRIGGER semantic_answer_goes AFTER DELETE ON semantic_answers BEGIN
    DELETE FROM semantic_bodies WHERE answer = OLD.number;
    DELETE FROM semantic_tags WHERE answer = OLD.number;
END;

-- Grows with every change in a scope.
CREATE TABLE semantic_scopes (
    tenant TEXT    NOT NULL,
    scope  BLOB    NOT NULL,
    change INTEGER NOT NULL,
    PRIMARY KEY (tenant, scope)
) WITHOUT ROWID;

-- Grows with every clearing.
CREATE TABLE semantic_generations (
    tenant     TEXT    PRIMARY KEY,
    generation INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE semantic_routes (
    tenant    TEXT    NOT NULL,
    route     BLOB    NOT NULL,
    model     TEXT    NOT NULL,
    embedder  TEXT    NOT NULL,
    hits      INTEGER NOT NULL DEFAULT 0,
    misses    INTEGER NOT NULL DEFAULT 0,
    saved_usd REAL    NOT NULL DEFAULT 0,
    since     REAL    NOT NULL DEFAULT 0,
    after     INTEGER NOT NULL DEFAULT 0,
    reason    TEXT    NOT NULL DEFAULT '',
    PRIMARY KEY (tenant, route)
) WITHOUT ROWID;

-- Kept answers that were compared with new ones.
CREATE TABLE semantic_labels (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant   TEXT    NOT NULL,
    route    BLOB    NOT NULL,
    at       REAL    NOT NULL,
    score    REAL    NOT NULL,
    step     INTEGER NOT NULL,
    same     INTEGER NOT NULL,
    audited  INTEGER NOT NULL,
    question TEXT    NOT NULL,
    kept     TEXT    NOT NULL
);
CREATE INDEX semantic_labels_by_route ON semantic_labels (tenant, route, number, step, same, audited);
CREATE INDEX semantic_labels_that_were_wrong ON semantic_labels (tenant, number) WHERE same = 0;
