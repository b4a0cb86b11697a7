-- Access that people ask for: who may, what they asked, and what was allowed in advance.
-- Both engines read this file; see 00001.

-- +goose Up
CREATE TABLE request_rules (
    id              TEXT PRIMARY KEY,
    project_id      TEXT NOT NULL REFERENCES projects (id),
    group_id        TEXT NOT NULL REFERENCES user_groups (id), -- to be in it is what is asked for
    askers          TEXT NOT NULL,                             -- a group; '' everybody
    approvers       TEXT NOT NULL REFERENCES user_groups (id),
    longest_seconds BIGINT NOT NULL,
    created_by      TEXT NOT NULL,
    created_at      BIGINT NOT NULL
);
CREATE INDEX request_rules_order ON request_rules (created_at, id);
CREATE INDEX request_rules_project ON request_rules (project_id);
CREATE INDEX request_rules_group ON request_rules (group_id);
CREATE INDEX request_rules_askers ON request_rules (askers);
CREATE INDEX request_rules_approvers ON request_rules (approvers);

-- What a request refers to may be gone before it is.
CREATE TABLE access_requests (
    id               TEXT PRIMARY KEY,
    rule_id          TEXT NOT NULL,
    project_id       TEXT NOT NULL,
    group_id         TEXT NOT NULL,
    user_id          TEXT NOT NULL,
    server_id        TEXT NOT NULL, -- '' if the project was named
    for_seconds      BIGINT NOT NULL,
    reason           TEXT NOT NULL,
    state            TEXT NOT NULL,
    created_at       BIGINT NOT NULL,
    expires_at       BIGINT NOT NULL, -- unanswered
    answered_by      TEXT NOT NULL,
    answered_at      BIGINT NOT NULL,
    answer           TEXT NOT NULL,
    given_seconds    BIGINT NOT NULL,
    until            BIGINT NOT NULL, -- of the membership
    preauthorization TEXT NOT NULL
);
CREATE INDEX access_requests_order ON access_requests (created_at, id);
CREATE INDEX access_requests_user ON access_requests (user_id, created_at, id);
CREATE UNIQUE INDEX access_requests_pending ON access_requests (rule_id, user_id) WHERE state = 'pending';
CREATE INDEX access_requests_expires ON access_requests (expires_at) WHERE state = 'pending';

CREATE TABLE preauthorizations (
    id              TEXT PRIMARY KEY,
    rule_id         TEXT NOT NULL REFERENCES request_rules (id),
    user_id         TEXT NOT NULL REFERENCES users (id),
    given_by        TEXT NOT NULL REFERENCES users (id),
    longest_seconds BIGINT NOT NULL,
    until           BIGINT NOT NULL,
    created_at      BIGINT NOT NULL,
    UNIQUE (rule_id, user_id)
);
CREATE INDEX preauthorizations_order ON preauthorizations (created_at, id);
CREATE INDEX preauthorizations_until ON preauthorizations (until);
