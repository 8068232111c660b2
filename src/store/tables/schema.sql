-- Version 1 of the store's file. Texts and numbers are the caller's; the store reads only what it sorts by.

CREATE TABLE rooms (
    key INTEGER PRIMARY KEY,
    -- NULL: the room has been removed, and what is left of it is being deleted.
    name TEXT UNIQUE,
    epoch TEXT NOT NULL,
    meta TEXT NOT NULL,
    -- What is kept; 0 is no limit.
    messages_max INTEGER NOT NULL DEFAULT 0,
    age_ms_max INTEGER NOT NULL DEFAULT 0,
    bytes_max INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX rooms_removed ON rooms (key) WHERE name IS NULL;
CREATE INDEX rooms_limited ON rooms (key) WHERE messages_max > 0 OR age_ms_max > 0 OR bytes_max > 0;

-- What changes with every message: apart from `rooms`, so that no metadata is written again each time.
CREATE TABLE heads (
    room INTEGER PRIMARY KEY,
    next_offset INTEGER NOT NULL DEFAULT 1,
    oldest_offset INTEGER NOT NULL DEFAULT 1,
    bytes INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Sorted by room and offset, so that a page of history is a few pages of the file.
CREATE TABLE messages (
    room INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    id BLOB NOT NULL,
    unix_ms INTEGER NOT NULL,
    user TEXT NOT NULL,
    type TEXT NOT NULL,
    flags INTEGER NOT NULL,
    client_message_id TEXT,
    body BLOB NOT NULL,
    PRIMARY KEY (room, offset)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX messages_by_id ON messages (room, id);

-- By what a repeat is known. Apart from `messages`, which may be deleted before the window ends.
CREATE TABLE sent (
    room INTEGER NOT NULL,
    user TEXT NOT NULL,
    client_message_id TEXT NOT NULL,
    offset INTEGER NOT NULL,
    id BLOB NOT NULL,
    unix_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    PRIMARY KEY (room, user, client_message_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX sent_by_expiry ON sent (expires_ms);

CREATE TABLE members (
    room INTEGER NOT NULL,
    user TEXT NOT NULL,
    role INTEGER NOT NULL,
    delivered INTEGER NOT NULL DEFAULT 0,
    read INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (room, user)
) STRICT, WITHOUT ROWID;
CREATE INDEX members_by_user ON members (user, room);
