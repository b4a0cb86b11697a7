-- People who are signed in to the control plane's own pages. Both engines read this file;
-- see 00001.

-- +goose Up
CREATE TABLE dashboards (
    id               TEXT PRIMARY KEY,
    user_id          TEXT NOT NULL REFERENCES users (id),
    token_hash       BYTEA NOT NULL UNIQUE,
    browser_hash     BYTEA NOT NULL,
    browser          TEXT NOT NULL, -- what it calls itself
    source           TEXT NOT NULL,
    provider         TEXT NOT NULL, -- id, or '' for a password of ours
    authenticated_at BIGINT NOT NULL,
    created_at       BIGINT NOT NULL,
    expires_at       BIGINT NOT NULL,
    revoked_at       BIGINT NOT NULL,
    seen_at          BIGINT NOT NULL -- last use, to some minutes
);
CREATE INDEX dashboards_user ON dashboards (user_id, created_at, id);
CREATE INDEX dashboards_order ON dashboards (created_at, id);
CREATE INDEX dashboards_expires ON dashboards (expires_at);
CREATE INDEX dashboards_provider ON dashboards (provider) WHERE provider <> '';
CREATE INDEX auth_requests_user ON auth_requests (user_id);
