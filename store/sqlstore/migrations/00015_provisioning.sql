-- Clients that keep users and groups by SCIM, what they keep, and whom each locked out or
-- took out of a group of late. Both engines read this file; see 00001.

-- +goose Up
CREATE TABLE scim_clients (
    id           TEXT PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE,
    provider     TEXT NOT NULL, -- at which its users sign in; '' for none
    link_claim   TEXT NOT NULL, -- of that provider, and is a user's external_id
    token_hash   BYTEA NOT NULL UNIQUE,
    old_hash     BYTEA NOT NULL, -- of the token before, good until old_until
    old_until    BIGINT NOT NULL,
    state        TEXT NOT NULL, -- active, disabled
    paused_until BIGINT NOT NULL, -- by the brake
    why          TEXT NOT NULL,
    free_until   BIGINT NOT NULL, -- an administrator has released the brake so long
    created_at   BIGINT NOT NULL,
    used_at      BIGINT NOT NULL
);
CREATE INDEX scim_clients_old ON scim_clients (old_hash) WHERE old_until <> 0;
CREATE INDEX scim_clients_provider ON scim_clients (provider) WHERE provider <> '';

CREATE TABLE scim_users (
    user_id     TEXT PRIMARY KEY REFERENCES users (id),
    client_id   TEXT NOT NULL REFERENCES scim_clients (id),
    external_id TEXT NOT NULL,
    user_name   TEXT NOT NULL,
    name_key    TEXT NOT NULL, -- user_name in small letters
    active      BOOLEAN NOT NULL, -- as the client said
    resource    TEXT NOT NULL,
    version     BIGINT NOT NULL,
    created_at  BIGINT NOT NULL,
    changed_at  BIGINT NOT NULL,
    UNIQUE (client_id, name_key)
);
CREATE INDEX scim_users_order ON scim_users (client_id, user_id);
CREATE INDEX scim_users_external ON scim_users (client_id, external_id);
CREATE INDEX scim_users_active ON scim_users (client_id) WHERE active;

CREATE TABLE scim_groups (
    group_id    TEXT PRIMARY KEY REFERENCES user_groups (id),
    client_id   TEXT NOT NULL REFERENCES scim_clients (id),
    external_id TEXT NOT NULL,
    name        TEXT NOT NULL, -- displayName
    name_key    TEXT NOT NULL,
    resource    TEXT NOT NULL, -- without members
    version     BIGINT NOT NULL,
    created_at  BIGINT NOT NULL,
    changed_at  BIGINT NOT NULL,
    UNIQUE (client_id, name_key)
);
CREATE INDEX scim_groups_order ON scim_groups (client_id, group_id);
CREATE INDEX scim_groups_external ON scim_groups (client_id, external_id);

-- The brake counts them: users whom a client locked out, deleted or took out of a group.
CREATE TABLE scim_removals (
    client_id TEXT NOT NULL REFERENCES scim_clients (id),
    user_id   TEXT NOT NULL,
    at        BIGINT NOT NULL,
    PRIMARY KEY (client_id, user_id)
);
CREATE INDEX scim_removals_at ON scim_removals (client_id, at);
