-- What people may run by sudo, by name, and which grants give it. Both engines
-- read this file; see 00001.

-- +goose Up
CREATE TABLE entitlements (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    commands    TEXT NOT NULL,
    created_at  BIGINT NOT NULL
);

CREATE TABLE grant_entitlements (
    grant_id       TEXT NOT NULL REFERENCES grants (id) ON DELETE CASCADE,
    entitlement_id TEXT NOT NULL REFERENCES entitlements (id),
    PRIMARY KEY (grant_id, entitlement_id)
);
CREATE INDEX grant_entitlements_entitlement ON grant_entitlements (entitlement_id);
