-- How programs change their keys, keys of issuers that nobody can ask for theirs, and the
-- sessions of programs, which go when they are over. Both engines read this file; see 00001.

-- +goose Up
ALTER TABLE service_keys ADD COLUMN replaces TEXT NOT NULL DEFAULT ''; -- id of the key by which it was registered; '' by an administrator
ALTER TABLE users ADD COLUMN key_age_seconds BIGINT NOT NULL DEFAULT 0; -- after which a program's key is old; 0 for never

-- Keys that are over for ever: whose they were is told to who comes with one.
CREATE TABLE retired_service_keys (
    thumbprint TEXT NOT NULL,
    user_id    TEXT NOT NULL REFERENCES users (id),
    key_id     TEXT NOT NULL,
    next_id    TEXT NOT NULL, -- the key that took its place; '' if it was taken away
    retired_at BIGINT NOT NULL,
    PRIMARY KEY (thumbprint, user_id)
);

ALTER TABLE workload_issuers ADD COLUMN keys TEXT NOT NULL DEFAULT '';    -- a JWK set that an administrator gave; '' to ask the issuer
ALTER TABLE workload_issuers ADD COLUMN keys_at BIGINT NOT NULL DEFAULT 0; -- when he did

ALTER TABLE sessions ADD COLUMN program BOOLEAN NOT NULL DEFAULT FALSE; -- of a program: it is forgotten some time after its end
UPDATE sessions SET program = TRUE WHERE user_id IN (SELECT id FROM users WHERE issuer = 'service');
CREATE INDEX sessions_program ON sessions (expires_at) WHERE program;
