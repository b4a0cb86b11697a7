-- How accounts come and go: made at once, on demand or not at all; shared; what
-- becomes of those whose access is over. Both engines read this file; see 00001.

-- +goose Up
ALTER TABLE projects ADD COLUMN accounts TEXT NOT NULL DEFAULT 'create'; -- create, existing, on-demand
ALTER TABLE projects ADD COLUMN account_seconds BIGINT NOT NULL DEFAULT 0;
ALTER TABLE projects ADD COLUMN removal TEXT NOT NULL DEFAULT 'lock'; -- lock, remove
ALTER TABLE projects ADD COLUMN removal_home TEXT NOT NULL DEFAULT 'archive'; -- keep, archive, delete
ALTER TABLE projects ADD COLUMN removal_seconds BIGINT NOT NULL DEFAULT 2592000;
ALTER TABLE projects ADD COLUMN shared_account TEXT NOT NULL DEFAULT '';
ALTER TABLE projects ADD COLUMN shared_admin_account TEXT NOT NULL DEFAULT '';

-- Of the last change to the desired state of this server alone.
ALTER TABLE servers ADD COLUMN revision BIGINT NOT NULL DEFAULT 0;

-- The uids of shared accounts, by name, for ever.
CREATE TABLE shared_accounts (
    name       TEXT PRIMARY KEY,
    uid        BIGINT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);

-- Whose access to a project's servers, or to one of them, may have ended, and
-- when accounts that it left go: 0 is never. Who has access again is not told
-- from here.
CREATE TABLE leavers (
    project_id TEXT NOT NULL,
    user_id    TEXT NOT NULL,
    server_id  TEXT NOT NULL, -- '' is all
    since      BIGINT NOT NULL,
    due        BIGINT NOT NULL,
    over       BOOLEAN NOT NULL, -- due has come, and the agents were told
    PRIMARY KEY (project_id, user_id, server_id)
);
CREATE INDEX leavers_due ON leavers (due) WHERE due <> 0;
CREATE INDEX leavers_server ON leavers (server_id) WHERE server_id <> '';

-- Accounts on demand.
CREATE TABLE demands (
    server_id  TEXT NOT NULL,
    user_id    TEXT NOT NULL,
    project_id TEXT NOT NULL,
    until      BIGINT NOT NULL,
    over       BOOLEAN NOT NULL,
    revision   BIGINT NOT NULL, -- at which it began
    PRIMARY KEY (server_id, user_id)
);
CREATE INDEX demands_until ON demands (until);
CREATE INDEX demands_project ON demands (project_id);
