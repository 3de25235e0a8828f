-- What is remembered. What is looked at often is apart from what is large.
CREATE TABLE memory_namespaces (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant     TEXT    NOT NULL,
    space      TEXT    NOT NULL,
    scope      TEXT    NOT NULL,
    owner      TEXT    NOT NULL,
    audience   TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    items      INTEGER NOT NULL DEFAULT 0,
    chunks     INTEGER NOT NULL DEFAULT 0,
    words      INTEGER NOT NULL DEFAULT 0,
    drops      INTEGER NOT NULL DEFAULT 0,
    updated_at REAL    NOT NULL,
    UNIQUE (tenant, space, audience, name)
);

CREATE TABLE memory_items (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant     TEXT    NOT NULL,
    space      TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    namespace  INTEGER NOT NULL,
    kind       TEXT    NOT NULL,
    title      TEXT    NOT NULL,
    source     TEXT    NOT NULL,
    metadata   TEXT    NOT NULL,
    strategy   TEXT    NOT NULL,
    events     TEXT    NOT NULL,
    at         REAL    NOT NULL,
    created_at REAL    NOT NULL,
    updated_at REAL    NOT NULL,
    expires_at REAL,
    version    INTEGER NOT NULL,
    chunks     INTEGER NOT NULL,
    digest     TEXT    NOT NULL,
    UNIQUE (tenant, space, id)
);
CREATE INDEX memory_items_by_change ON memory_items (namespace, updated_at, number);
CREATE INDEX memory_items_by_expiry ON memory_items (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE memory_chunks (
    number    INTEGER PRIMARY KEY AUTOINCREMENT,
    namespace INTEGER NOT NULL,
    item      INTEGER NOT NULL,
    ordinal   INTEGER NOT NULL,
    words     INTEGER NOT NULL
);
CREATE INDEX memory_chunks_by_place ON memory_chunks (item, ordinal);

CREATE TABLE memory_texts (
    chunk INTEGER PRIMARY KEY,
    id    TEXT    NOT NULL,
    text  TEXT    NOT NULL,
    place TEXT    NOT NULL,
    start INTEGER NOT NULL,
    terms TEXT    NOT NULL
);

-- The words of chunks, each behind the number of its namespace: what one audience wrote weighs nothing in another's search.
CREATE VIRTUAL TABLE memory_words USING fts5 (terms, content = '', detail = none, columnsize = 0, tokenize = 'ascii');
CREATE VIRTUAL TABLE memory_word_counts USING fts5vocab (memory_words, row);

CREATE TABLE memory_vectors (
    serial    INTEGER PRIMARY KEY AUTOINCREMENT,
    namespace INTEGER NOT NULL,
    model     TEXT    NOT NULL,
    chunk     INTEGER NOT NULL,
    vector    BLOB    NOT NULL,
    UNIQUE (chunk, model)
);
CREATE INDEX memory_vectors_by_namespace ON memory_vectors (namespace, model, serial);

CREATE TRIGGER memory_text_comes AFTER INSERT ON memory_texts BEGIN
    INSERT INTO memory_words (rowid, terms) VALUES (NEW.chunk, NEW.terms);
END;

CREATE TRIGGER memory_text_goes AFTER DELETE ON memory_texts BEGIN
    INSERT INTO memory_words (memory_words, rowid, terms) VALUES ('delete', OLD.chunk, OLD.terms);
END;

CREATE TRIGGER memory_chunk_comes AFTER INSERT ON memory_chunks BEGIN
    UPDATE memory_namespaces SET chunks = chunks + 1, words = words + NEW.words WHERE number = NEW.namespace;
END;

CREATE TRIGGER memory_chunk_goes AFTER DELETE ON memory_chunks BEGIN
    DELETE FROM memory_texts WHERE chunk = OLD.number;
    DELETE FROM memory_vectors WHERE chunk = OLD.number;
    UPDATE memory_namespaces SET chunks = chunks - 1, words = words - OLD.words, drops = drops + 1
    WHERE number = OLD.namespace;
END;

CREATE TRIGGER memory_item_comes AFTER INSERT ON memory_items BEGIN
    UPDATE memory_namespaces SET items = items + 1 WHERE number = NEW.namespace;
END;

CREATE TRIGGER memory_item_moves AFTER UPDATE OF namespace ON memory_items WHEN OLD.namespace <> NEW.namespace BEGIN
    UPDATE memory_namespaces SET items = items - 1 WHERE number = OLD.namespace;
    UPDATE memory_namespaces SET items = items + 1 WHERE number = NEW.namespace;
END;

CREATE TRIGGER memory_item_goes AFTER DELETE ON memory_items BEGIN
    DELETE FROM memory_chunks WHERE item = OLD.number;
    UPDATE memory_namespaces SET items = items - 1 WHERE number = OLD.namespace;
END;
