-- Names of servers: those besides their own, the suffixes that a project owns, and
-- what hosts propose. Both engines read this file; see 00001.

-- +goose Up
ALTER TABLE projects ADD COLUMN name_suffixes TEXT NOT NULL DEFAULT '';
ALTER TABLE servers ADD COLUMN alt_names TEXT NOT NULL DEFAULT '';
ALTER TABLE servers ADD COLUMN bastion TEXT NOT NULL DEFAULT '';
ALTER TABLE servers ADD COLUMN proposed TEXT NOT NULL DEFAULT '';
ALTER TABLE enrolment_tokens ADD COLUMN alt_names TEXT NOT NULL DEFAULT '';
ALTER TABLE enrolment_tokens ADD COLUMN host_names BOOLEAN NOT NULL DEFAULT false;
CREATE INDEX servers_bastion ON servers (bastion) WHERE bastion <> '';

-- Every name of every server, its own and the others: one is given once in a project.
CREATE TABLE server_names (
    project_id TEXT NOT NULL,
    name       TEXT NOT NULL,
    server_id  TEXT NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    PRIMARY KEY (project_id, name)
);
CREATE INDEX server_names_name ON server_names (name, server_id);
CREATE INDEX server_names_server ON server_names (server_id);
INSERT INTO server_names (project_id, name, server_id) SELECT project_id, name, id FROM servers;
