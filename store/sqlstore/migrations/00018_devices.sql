-- Devices without a browser (RFC 8628), and what the team demands of devices. Both
-- engines read this file; see 00001.

-- +goose Up
ALTER TABLE team ADD COLUMN device_code BOOLEAN NOT NULL DEFAULT FALSE;     -- lets devices sign in by a typed code
ALTER TABLE team ADD COLUMN device_approval BOOLEAN NOT NULL DEFAULT FALSE; -- has an administrator approve new devices

-- What a device said of itself when it last signed in: its own word, JSON; '' for nothing.
ALTER TABLE devices ADD COLUMN report TEXT NOT NULL DEFAULT '';
ALTER TABLE devices ADD COLUMN reported_at BIGINT NOT NULL DEFAULT 0;

-- A device that asks to be signed in from another machine's browser.
CREATE TABLE device_grants (
    id             TEXT PRIMARY KEY,
    code_hash      BYTEA NOT NULL UNIQUE, -- of what the device polls with
    user_code_hash BYTEA NOT NULL UNIQUE, -- of what a person types
    thumbprint     TEXT NOT NULL,
    device_name    TEXT NOT NULL,
    source         TEXT NOT NULL,   -- address of the device
    wait_seconds   BIGINT NOT NULL, -- between two polls; more after each that came too soon
    polled_at      BIGINT NOT NULL,
    created_at     BIGINT NOT NULL,
    expires_at     BIGINT NOT NULL
);
CREATE INDEX device_grants_expires ON device_grants (expires_at);

-- What a person decides, at the browser in which the code was typed.
ALTER TABLE auth_requests ADD COLUMN grant_id TEXT NOT NULL DEFAULT ''; -- '' is a device with a browser
ALTER TABLE auth_requests ADD COLUMN origin TEXT NOT NULL DEFAULT '';   -- address of the device of the grant
ALTER TABLE auth_requests ADD COLUMN shown_at BIGINT NOT NULL DEFAULT 0; -- when who said yes to a grant had shown who he is
CREATE UNIQUE INDEX auth_requests_grant ON auth_requests (grant_id) WHERE grant_id <> '';
