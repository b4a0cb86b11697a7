-- Users who are programs, and the keys by which they sign in; issuers of tokens for jobs,
-- and the rules by which a job is such a user. Both engines read this file; see 00001.

-- +goose Up
CREATE TABLE service_keys (
    id         TEXT PRIMARY KEY,
    user_id    TEXT NOT NULL REFERENCES users (id),
    name       TEXT NOT NULL,
    thumbprint TEXT NOT NULL UNIQUE, -- so the key says who it is
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL, -- 0 for never
    used_at    BIGINT NOT NULL  -- at the last sign-in
);
CREATE INDEX service_keys_user ON service_keys (user_id, created_at, id);
CREATE INDEX users_issuer ON users (issuer, name, id) WHERE issuer = 'service';

CREATE TABLE workload_issuers (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    issuer     TEXT NOT NULL UNIQUE,
    audience   TEXT NOT NULL,
    state      TEXT NOT NULL, -- active, disabled
    created_at BIGINT NOT NULL
);

CREATE TABLE workload_rules (
    id              TEXT PRIMARY KEY,
    issuer_id       TEXT NOT NULL REFERENCES workload_issuers (id),
    user_id         TEXT NOT NULL REFERENCES users (id),
    claims          TEXT NOT NULL, -- each with its pattern; sub is among them
    session_seconds BIGINT NOT NULL,
    created_at      BIGINT NOT NULL
);
CREATE INDEX workload_rules_issuer ON workload_rules (issuer_id, created_at, id);
CREATE INDEX workload_rules_user ON workload_rules (user_id);

-- Tokens that brought a session, until they are over: each is of one key for ever.
CREATE TABLE workload_tokens (
    token_hash BYTEA PRIMARY KEY,
    thumbprint TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX workload_tokens_expires ON workload_tokens (expires_at);

ALTER TABLE sessions ADD COLUMN rule_id TEXT NOT NULL DEFAULT ''; -- by which a job got it
CREATE INDEX sessions_rule ON sessions (rule_id) WHERE rule_id <> '';
