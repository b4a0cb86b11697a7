-- CAs over time, and what was revoked. Both engines read this file; see 00001.

-- +goose Up
ALTER TABLE keys ADD COLUMN revision BIGINT NOT NULL DEFAULT 0;   -- since which servers are told of it
ALTER TABLE keys ADD COLUMN changed_at BIGINT NOT NULL DEFAULT 0; -- when its state last changed
CREATE UNIQUE INDEX keys_next ON keys (scope, purpose) WHERE state = 'next';
CREATE UNIQUE INDEX keys_active ON keys (scope, purpose) WHERE state = 'active';
CREATE UNIQUE INDEX keys_previous ON keys (scope, purpose) WHERE state = 'previous';

-- Fingerprint of the CA of the host certificate that sshd shows.
ALTER TABLE servers ADD COLUMN host_ca TEXT NOT NULL DEFAULT '';

-- Which certificates are not over.
CREATE INDEX issuances_live ON issuances (not_after);

CREATE TABLE revoked_certificates (
    serial     BIGINT PRIMARY KEY,
    project_id TEXT NOT NULL,
    until      BIGINT NOT NULL
);
CREATE INDEX revoked_certificates_until ON revoked_certificates (until);

CREATE TABLE revoked_keys (
    fingerprint TEXT PRIMARY KEY,
    reason      TEXT NOT NULL,
    created_at  BIGINT NOT NULL
);
