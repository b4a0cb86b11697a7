-- Recorded sessions. Both engines read this file; see 00001.

-- +goose Up
ALTER TABLE projects ADD COLUMN recording TEXT NOT NULL DEFAULT '';            -- '' is off
ALTER TABLE projects ADD COLUMN recording_recipients TEXT NOT NULL DEFAULT '';
ALTER TABLE projects ADD COLUMN recording_input BOOLEAN NOT NULL DEFAULT false;
ALTER TABLE projects ADD COLUMN x11_forwarding BOOLEAN NOT NULL DEFAULT false;

ALTER TABLE gateways ADD COLUMN records BOOLEAN NOT NULL DEFAULT false;

-- Of what was issued to a gateway: which, and for which session.
ALTER TABLE issuances ADD COLUMN gateway_id TEXT NOT NULL DEFAULT '';
ALTER TABLE issuances ADD COLUMN gateway_session TEXT NOT NULL DEFAULT '';
CREATE INDEX issuances_target ON issuances (public_key) WHERE kind = 'target';

-- Public halves of the keys that sign recordings. They stay for ever, also when the
-- gateway is gone.
CREATE TABLE recording_keys (
    id         TEXT PRIMARY KEY, -- the start of the hash of the key
    gateway_id TEXT NOT NULL,
    public     BYTEA NOT NULL UNIQUE,
    since      BIGINT NOT NULL
);
CREATE INDEX recording_keys_order ON recording_keys (since, id);

-- One row for each recorded session, made with it.
CREATE TABLE recordings (
    session_id TEXT PRIMARY KEY REFERENCES gateway_sessions (id),
    required   BOOLEAN NOT NULL,
    state      TEXT NOT NULL,
    keeper     TEXT NOT NULL, -- id of the gateway that told of it last
    segments   BIGINT NOT NULL,
    bytes      BIGINT NOT NULL,
    place      TEXT NOT NULL,
    head       TEXT NOT NULL,
    key_id     TEXT NOT NULL,
    seconds    BIGINT NOT NULL,
    cause      TEXT NOT NULL,
    fault      TEXT NOT NULL,
    changed_at BIGINT NOT NULL,
    overdue_at BIGINT NOT NULL -- when it was noticed that nobody finishes it; 0 for never
);
CREATE INDEX recordings_unfinished ON recordings (session_id) WHERE state IN ('recording', 'finished');
