-- Version 3: revocations; and messages are found by their id alone.

CREATE TABLE revocations (
    -- By age: what is said again has a new one.
    place INTEGER PRIMARY KEY,
    -- What is meant, in the caller's numbers, and its name.
    kind INTEGER NOT NULL,
    name TEXT NOT NULL,
    before_s INTEGER NOT NULL,
    until_s INTEGER NOT NULL,
    UNIQUE (kind, name)
) STRICT;
CREATE INDEX revocations_by_end ON revocations (until_s);

-- The id first: it finds the room, too. Ids rise with time, so that new ones lie side by side.
DROP INDEX messages_by_id;
CREATE UNIQUE INDEX messages_by_id ON messages (id, room);
