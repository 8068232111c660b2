-- Version 2: pairings. The text is the caller's.

CREATE TABLE pairings (
    id BLOB PRIMARY KEY,
    record TEXT NOT NULL
) STRICT, WITHOUT ROWID;
