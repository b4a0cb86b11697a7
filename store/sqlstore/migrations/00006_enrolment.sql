-- How servers enrolled, by what a copied credential is noticed, and which
-- machines of a cloud may enrol by themselves. Both engines read this file; see
-- 00001.

-- +goose Up
ALTER TABLE servers ADD COLUMN enrolled_by TEXT NOT NULL DEFAULT ''; -- the token, or the instance of a cloud
ALTER TABLE servers ADD COLUMN held TEXT NOT NULL DEFAULT '';        -- why the server is held, for people
ALTER TABLE servers ADD COLUMN rhythm TEXT NOT NULL DEFAULT '';      -- JSON of store.Rhythm

CREATE TABLE enrolment_rules (
    id             TEXT PRIMARY KEY,
    cloud          TEXT NOT NULL,
    account        TEXT NOT NULL,
    regions        TEXT NOT NULL,
    identities     TEXT NOT NULL,
    within_seconds BIGINT NOT NULL,
    project_id     TEXT NOT NULL REFERENCES projects (id),
    server_name    TEXT NOT NULL,
    labels         TEXT NOT NULL,
    created_at     BIGINT NOT NULL
);
CREATE INDEX enrolment_rules_order ON enrolment_rules (created_at, id);
CREATE INDEX enrolment_rules_account ON enrolment_rules (cloud, account);
CREATE INDEX enrolment_rules_project ON enrolment_rules (project_id);

-- An instance enrols by a rule once. The row outlives the server: who deletes a
-- server does not want it back by itself.
CREATE TABLE instances (
    instance   TEXT PRIMARY KEY, -- CLOUD/ACCOUNT/ID
    server_id  TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
