-- How people sign in, and for how long: what the team demands, the tokens that a session
-- had and will have, who showed once more who he is, second factors. Both engines read
-- this file; see 00001.

-- +goose Up
ALTER TABLE team ADD COLUMN session_seconds BIGINT NOT NULL DEFAULT 0; -- 0 is the program's default
ALTER TABLE team ADD COLUMN idle_seconds BIGINT NOT NULL DEFAULT 0;    -- 0 is no limit
ALTER TABLE team ADD COLUMN second_factor TEXT NOT NULL DEFAULT '';    -- who must have one: '' nobody, admins, all

ALTER TABLE sessions ADD COLUMN seen_at BIGINT NOT NULL DEFAULT 0;    -- last use, to some minutes
ALTER TABLE sessions ADD COLUMN offered_at BIGINT NOT NULL DEFAULT 0; -- when it was last given a next token

-- The tokens of a session beside its current one, which is in sessions.
CREATE TABLE session_tokens (
    token_hash  BYTEA PRIMARY KEY,
    session_id  TEXT NOT NULL REFERENCES sessions (id),
    replaced_at BIGINT NOT NULL, -- 0 for the next one, which nobody has used yet
    expires_at  BIGINT NOT NULL  -- that of the session
);
CREATE UNIQUE INDEX session_tokens_next ON session_tokens (session_id) WHERE replaced_at = 0;
CREATE INDEX session_tokens_expires ON session_tokens (expires_at);

-- When the user of a device last showed who he is, to go on in a project.
ALTER TABLE projects ADD COLUMN reauth_seconds BIGINT NOT NULL DEFAULT 0; -- 0 is never asked
ALTER TABLE auth_requests ADD COLUMN project TEXT NOT NULL DEFAULT ''; -- for which it is asked, as the link says; '' is a sign-in
CREATE TABLE touches (
    device_id  TEXT NOT NULL REFERENCES devices (id),
    project_id TEXT NOT NULL,
    at         BIGINT NOT NULL,
    PRIMARY KEY (device_id, project_id)
);
CREATE INDEX touches_project ON touches (project_id);

CREATE TABLE factors (
    id            TEXT PRIMARY KEY,
    user_id       TEXT NOT NULL REFERENCES users (id),
    kind          TEXT NOT NULL, -- totp, passkey
    name          TEXT NOT NULL,
    sealed        BYTEA NOT NULL, -- the secret of a totp
    credential_id TEXT NOT NULL,  -- of a passkey, base64url
    credential    TEXT NOT NULL,  -- of a passkey, JSON
    counter       BIGINT NOT NULL, -- the last time step of a totp, the sign count of a passkey
    created_at    BIGINT NOT NULL,
    used_at       BIGINT NOT NULL
);
CREATE INDEX factors_user ON factors (user_id, created_at, id);
CREATE UNIQUE INDEX factors_credential ON factors (credential_id) WHERE credential_id <> '';

CREATE TABLE recovery_codes (
    user_id   TEXT NOT NULL REFERENCES users (id),
    code_hash BYTEA NOT NULL,
    PRIMARY KEY (user_id, code_hash)
);

-- A browser session is half while it needs something: factor, enrolment.
ALTER TABLE browser_sessions ADD COLUMN needs TEXT NOT NULL DEFAULT '';
ALTER TABLE browser_sessions ADD COLUMN challenge TEXT NOT NULL DEFAULT ''; -- what a passkey has to sign, once

-- Who holds the token may choose the password of its user, once.
CREATE TABLE invitations (
    token_hash BYTEA PRIMARY KEY,
    user_id    TEXT NOT NULL REFERENCES users (id),
    expires_at BIGINT NOT NULL
);
CREATE INDEX invitations_expires ON invitations (expires_at);
