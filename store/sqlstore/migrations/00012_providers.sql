-- Identity providers, the runs of sign-ins through them, and which of them keeps the
-- members of a group. Both engines read this file; see 00001.

-- +goose Up
CREATE TABLE providers (
    id           TEXT PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE,
    title        TEXT NOT NULL,
    issuer       TEXT NOT NULL UNIQUE,
    client_id    TEXT NOT NULL,
    secret       BYTEA NOT NULL,
    scopes       TEXT NOT NULL,
    login_claim  TEXT NOT NULL,
    login_rule   TEXT NOT NULL,
    domains      TEXT NOT NULL,
    groups_claim TEXT NOT NULL,
    required     TEXT NOT NULL,
    makes_users  BOOLEAN NOT NULL,
    state        TEXT NOT NULL,
    created_at   BIGINT NOT NULL
);

CREATE TABLE federations (
    state_hash   BYTEA PRIMARY KEY,
    provider_id  TEXT NOT NULL REFERENCES providers (id),
    request_id   TEXT NOT NULL,
    browser_hash BYTEA NOT NULL,
    reauth       BOOLEAN NOT NULL,
    phase        TEXT NOT NULL, -- open, taken, done
    expires_at   BIGINT NOT NULL,
    created_at   BIGINT NOT NULL
);
CREATE INDEX federations_expires ON federations (expires_at);
CREATE INDEX federations_provider ON federations (provider_id);

ALTER TABLE user_groups ADD COLUMN source TEXT NOT NULL DEFAULT '';   -- provider, or '' for hands
ALTER TABLE user_groups ADD COLUMN external TEXT NOT NULL DEFAULT ''; -- what it calls the group
CREATE UNIQUE INDEX user_groups_source ON user_groups (source, external) WHERE source <> '';

ALTER TABLE browser_sessions ADD COLUMN provider TEXT NOT NULL DEFAULT ''; -- id, or '' for a password of ours
ALTER TABLE browser_sessions ADD COLUMN amr TEXT NOT NULL DEFAULT '';      -- how he showed who he is, as the provider says
