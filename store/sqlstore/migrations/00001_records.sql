-- Both engines read this file. So: TEXT, BIGINT, BOOLEAN and BYTEA only (SQLite
-- keeps any type in any column); times are microseconds since 1970 in UTC, 0
-- for none; maps and lists are JSON in TEXT, '' for empty.

-- +goose Up
CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('audit', 0);

CREATE TABLE team (
    one        BIGINT PRIMARY KEY CHECK (one = 1),
    id         TEXT NOT NULL,
    name       TEXT NOT NULL,
    epoch      BIGINT NOT NULL,
    revision   BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE keys (
    id          TEXT PRIMARY KEY,
    scope       TEXT NOT NULL,
    purpose     TEXT NOT NULL,
    state       TEXT NOT NULL,
    public      BYTEA NOT NULL,
    fingerprint TEXT NOT NULL,
    sealed      BYTEA NOT NULL,
    created_at  BIGINT NOT NULL
);
CREATE UNIQUE INDEX keys_fingerprint ON keys (fingerprint) WHERE fingerprint <> '';
CREATE INDEX keys_scope ON keys (scope, purpose);

CREATE TABLE users (
    id            TEXT PRIMARY KEY,
    issuer        TEXT NOT NULL,
    subject       TEXT NOT NULL,
    name          TEXT NOT NULL,
    full_name     TEXT NOT NULL,
    email         TEXT NOT NULL,
    login         TEXT NOT NULL UNIQUE,
    uid           BIGINT NOT NULL UNIQUE,
    status        TEXT NOT NULL,
    admin         BOOLEAN NOT NULL,
    password_hash TEXT NOT NULL,
    revision      BIGINT NOT NULL,
    created_at    BIGINT NOT NULL,
    UNIQUE (issuer, subject)
);
CREATE UNIQUE INDEX users_name ON users (name) WHERE status <> 'deleted';
CREATE INDEX users_order ON users (name, id);

CREATE TABLE user_groups (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    gid        BIGINT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);

CREATE TABLE members (
    group_id TEXT NOT NULL REFERENCES user_groups (id),
    user_id  TEXT NOT NULL REFERENCES users (id),
    until    BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    PRIMARY KEY (group_id, user_id)
);
CREATE INDEX members_user ON members (user_id);
CREATE INDEX members_until ON members (until) WHERE until <> 0;

CREATE TABLE projects (
    id                  TEXT PRIMARY KEY,
    name                TEXT NOT NULL UNIQUE,
    certificate_seconds BIGINT NOT NULL,
    gateway             TEXT NOT NULL,
    gateway_selector    TEXT NOT NULL,
    port_forwarding     BOOLEAN NOT NULL,
    agent_forwarding    BOOLEAN NOT NULL,
    revision            BIGINT NOT NULL,
    created_at          BIGINT NOT NULL
);

CREATE TABLE grants (
    id         TEXT PRIMARY KEY,
    project_id TEXT NOT NULL REFERENCES projects (id),
    group_id   TEXT NOT NULL REFERENCES user_groups (id),
    role       TEXT NOT NULL,
    selector   TEXT NOT NULL,
    until      BIGINT NOT NULL,
    revision   BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX grants_project ON grants (project_id, created_at, id);
CREATE INDEX grants_group ON grants (group_id);
CREATE INDEX grants_until ON grants (until) WHERE until <> 0;

CREATE TABLE servers (
    id                TEXT PRIMARY KEY,
    project_id        TEXT NOT NULL REFERENCES projects (id),
    name              TEXT NOT NULL,
    address           TEXT NOT NULL,
    labels            TEXT NOT NULL,
    host_labels       TEXT NOT NULL,
    state             TEXT NOT NULL,
    host_key          TEXT NOT NULL,
    confirmed_epoch   BIGINT NOT NULL,
    confirmed_counter BIGINT NOT NULL,
    problems          TEXT NOT NULL,
    agent_version     TEXT NOT NULL,
    events_next       BIGINT NOT NULL,
    last_seen         BIGINT NOT NULL,
    created_at        BIGINT NOT NULL,
    UNIQUE (project_id, name)
);
CREATE INDEX servers_name ON servers (name, id);

CREATE TABLE gateways (
    id              TEXT PRIMARY KEY,
    name            TEXT NOT NULL UNIQUE,
    address         TEXT NOT NULL,
    labels          TEXT NOT NULL,
    egress          TEXT NOT NULL,
    state           TEXT NOT NULL,
    sealing_keys    TEXT NOT NULL,
    healthy         BOOLEAN NOT NULL,
    health          TEXT NOT NULL,
    draining        BOOLEAN NOT NULL,
    sessions        BIGINT NOT NULL,
    version         TEXT NOT NULL,
    egress_revision BIGINT NOT NULL,
    orders          BIGINT NOT NULL, -- the number of the last order to end sessions
    reported_at     BIGINT NOT NULL,
    created_at      BIGINT NOT NULL
);

-- Tokens of servers and gateways.
CREATE TABLE credentials (
    token_hash BYTEA PRIMARY KEY,
    kind       TEXT NOT NULL,
    owner      TEXT NOT NULL,
    thumbprint TEXT NOT NULL UNIQUE,
    expires_at BIGINT NOT NULL
);
CREATE INDEX credentials_owner ON credentials (owner);

CREATE TABLE enrolment_tokens (
    id          TEXT PRIMARY KEY,
    secret_hash BYTEA NOT NULL UNIQUE,
    kind        TEXT NOT NULL,
    project_id  TEXT NOT NULL,
    name        TEXT NOT NULL,
    address     TEXT NOT NULL,
    labels      TEXT NOT NULL,
    egress      TEXT NOT NULL,
    uses_left   BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL,
    created_at  BIGINT NOT NULL
);
CREATE INDEX enrolment_tokens_order ON enrolment_tokens (created_at, id);
CREATE INDEX enrolment_tokens_project ON enrolment_tokens (project_id);

CREATE TABLE devices (
    id         TEXT PRIMARY KEY,
    user_id    TEXT NOT NULL REFERENCES users (id),
    name       TEXT NOT NULL,
    thumbprint TEXT NOT NULL,
    state      TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (user_id, thumbprint)
);
CREATE INDEX devices_order ON devices (created_at, id);

CREATE TABLE sessions (
    id               TEXT PRIMARY KEY,
    user_id          TEXT NOT NULL REFERENCES users (id),
    device_id        TEXT NOT NULL REFERENCES devices (id),
    token_hash       BYTEA NOT NULL UNIQUE,
    thumbprint       TEXT NOT NULL,
    authenticated_at BIGINT NOT NULL,
    created_at       BIGINT NOT NULL,
    expires_at       BIGINT NOT NULL,
    revoked_at       BIGINT NOT NULL
);
CREATE INDEX sessions_user ON sessions (user_id, created_at, id);
CREATE INDEX sessions_device ON sessions (device_id);
CREATE INDEX sessions_order ON sessions (created_at, id);

CREATE TABLE auth_requests (
    id              TEXT PRIMARY KEY,
    redirect_uri    TEXT NOT NULL,
    state           TEXT NOT NULL,
    challenge       TEXT NOT NULL,
    thumbprint      TEXT NOT NULL,
    device_name     TEXT NOT NULL,
    browser_hash    BYTEA NOT NULL,
    user_id         TEXT NOT NULL,
    source          TEXT NOT NULL,
    expires_at      BIGINT NOT NULL,
    created_at      BIGINT NOT NULL,
    phase           TEXT NOT NULL, -- open, approved, refused, used
    code_hash       BYTEA,
    code_expires_at BIGINT NOT NULL,
    session_id      TEXT NOT NULL, -- what the code was traded for
    UNIQUE (code_hash)
);
CREATE INDEX auth_requests_expires ON auth_requests (expires_at);

CREATE TABLE browser_sessions (
    id               TEXT PRIMARY KEY,
    user_id          TEXT NOT NULL REFERENCES users (id),
    token_hash       BYTEA NOT NULL UNIQUE,
    authenticated_at BIGINT NOT NULL,
    expires_at       BIGINT NOT NULL
);
CREATE INDEX browser_sessions_user ON browser_sessions (user_id);
CREATE INDEX browser_sessions_expires ON browser_sessions (expires_at);

CREATE TABLE attempts (
    name    TEXT PRIMARY KEY,
    tries   BIGINT NOT NULL,
    ends_at BIGINT NOT NULL
);
CREATE INDEX attempts_ends ON attempts (ends_at);

-- Claimed proofs of possession: SHA-256 of thumbprint and jti.
CREATE TABLE proofs (
    id         BYTEA PRIMARY KEY,
    expires_at BIGINT NOT NULL
);
CREATE INDEX proofs_expires ON proofs (expires_at);

CREATE TABLE idempotency (
    scope      TEXT NOT NULL,
    name       TEXT NOT NULL,
    hash       BYTEA NOT NULL,
    ref        TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (scope, name)
);
CREATE INDEX idempotency_expires ON idempotency (expires_at);

-- Claimed hellos.
CREATE TABLE nonces (
    nonce      BYTEA PRIMARY KEY,
    expires_at BIGINT NOT NULL
);
CREATE INDEX nonces_expires ON nonces (expires_at);

-- The records of certificates outlive what they name: no references.
CREATE TABLE issuances (
    serial     BIGINT PRIMARY KEY,
    kind       TEXT NOT NULL,
    ca         TEXT NOT NULL,
    principal  TEXT NOT NULL,
    key_id     TEXT NOT NULL,
    public_key TEXT NOT NULL,
    user_id    TEXT NOT NULL,
    session_id TEXT NOT NULL,
    device_id  TEXT NOT NULL,
    server_id  TEXT NOT NULL,
    project_id TEXT NOT NULL,
    login      TEXT NOT NULL,
    grant_id   TEXT NOT NULL,
    ticket     TEXT NOT NULL,
    not_before BIGINT NOT NULL,
    not_after  BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX issuances_ticket ON issuances (ticket) WHERE ticket <> '';

CREATE TABLE gateway_sessions (
    id           TEXT PRIMARY KEY,
    gateway_id   TEXT NOT NULL,
    user_id      TEXT NOT NULL,
    server_id    TEXT NOT NULL,
    project_id   TEXT NOT NULL,
    login        TEXT NOT NULL,
    user_session TEXT NOT NULL,
    source       TEXT NOT NULL,
    started_at   BIGINT NOT NULL,
    ended_at     BIGINT NOT NULL,
    cause        TEXT NOT NULL,
    up           BIGINT NOT NULL,
    down         BIGINT NOT NULL,
    end_order    BIGINT NOT NULL -- number of the order to end it, 0 for none
);
CREATE INDEX gateway_sessions_order ON gateway_sessions (started_at, id);
CREATE INDEX gateway_sessions_user ON gateway_sessions (user_id, started_at, id);
CREATE INDEX gateway_sessions_live ON gateway_sessions (gateway_id) WHERE ended_at = 0;
CREATE INDEX gateway_sessions_live_user ON gateway_sessions (user_id) WHERE ended_at = 0;
CREATE INDEX gateway_sessions_begun ON gateway_sessions (user_session) WHERE ended_at = 0;

-- One row per instance: the head of its chain, and its fence (epoch).
CREATE TABLE audit_chains (
    instance TEXT PRIMARY KEY,
    epoch    BIGINT NOT NULL,
    seq      BIGINT NOT NULL,
    batch    BIGINT NOT NULL, -- commits in this epoch
    hash     BYTEA NOT NULL
);

CREATE TABLE audit (
    id       BIGINT PRIMARY KEY,
    instance TEXT NOT NULL,
    epoch    BIGINT NOT NULL,
    seq      BIGINT NOT NULL,
    at       BIGINT NOT NULL,
    payload  BYTEA NOT NULL,
    hash     BYTEA NOT NULL,
    UNIQUE (instance, epoch, seq)
);
