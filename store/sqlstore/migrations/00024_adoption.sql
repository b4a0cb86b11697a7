-- Users who were there before a connector kept them: who of them a client takes over, who
-- waits for an administrator's word; who disabled somebody; browsers that are known. Both
-- engines read this file; see 00001.

-- +goose Up
ALTER TABLE users ADD COLUMN disabled_by TEXT NOT NULL DEFAULT '';    -- an administrator or a SCIM client, by id; '' is nobody knows
ALTER TABLE users ADD COLUMN disabled_at BIGINT NOT NULL DEFAULT 0;

-- Whom the client had said to be inactive was disabled by it; all others by hand.
UPDATE users SET disabled_by = (SELECT s.client_id FROM scim_users s WHERE s.user_id = users.id)
    WHERE status = 'disabled' AND EXISTS (SELECT 1 FROM scim_users s WHERE s.user_id = users.id AND NOT s.active);

-- To show an administrator who might be meant; nobody is found by it.
CREATE INDEX users_email ON users (lower(email)) WHERE email <> '';

-- Who he was before a client took him over, to give him back; '' for whom it made.
ALTER TABLE scim_users ADD COLUMN was_issuer TEXT NOT NULL DEFAULT '';
ALTER TABLE scim_users ADD COLUMN was_subject TEXT NOT NULL DEFAULT '';

-- What the provider of a user said of him in the claims that its clients link by, when he
-- last signed in there.
CREATE TABLE said_claims (
    user_id TEXT NOT NULL REFERENCES users (id),
    claim   TEXT NOT NULL,
    value   TEXT NOT NULL,
    PRIMARY KEY (user_id, claim)
);
CREATE INDEX said_claims_value ON said_claims (value, claim);

-- Whom a client wanted to make and could not, because somebody is in the way.
CREATE TABLE scim_waiting (
    client_id   TEXT NOT NULL REFERENCES scim_clients (id),
    name_key    TEXT NOT NULL, -- user_name in small letters
    user_name   TEXT NOT NULL,
    external_id TEXT NOT NULL,
    login       TEXT NOT NULL, -- what user_name stands for
    full_name   TEXT NOT NULL,
    email       TEXT NOT NULL,
    active      BOOLEAN NOT NULL,
    resource    TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    tried_at    BIGINT NOT NULL,
    PRIMARY KEY (client_id, name_key)
);

-- Whom an administrator took from a client: it does not get him back by itself.
CREATE TABLE scim_released (
    client_id TEXT NOT NULL REFERENCES scim_clients (id),
    user_id   TEXT NOT NULL REFERENCES users (id),
    PRIMARY KEY (client_id, user_id)
);

-- Browsers in which somebody has shown a second factor: his tries there are counted for
-- themselves.
CREATE TABLE known_browsers (
    user_id    TEXT NOT NULL REFERENCES users (id),
    token_hash BYTEA NOT NULL,
    seen_at    BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, token_hash)
);
CREATE INDEX known_browsers_expires ON known_browsers (expires_at);
