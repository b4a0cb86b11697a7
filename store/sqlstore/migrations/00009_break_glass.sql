-- Times in which one group alone may enter a project, and why sessions were ordered
-- to end. Both engines read this file; see 00001.

-- +goose Up
CREATE TABLE break_glass (
    id         TEXT PRIMARY KEY,
    project_id TEXT NOT NULL,
    group_id   TEXT NOT NULL,
    role       TEXT NOT NULL,
    grant_id   TEXT NOT NULL, -- the one that counts
    reason     TEXT NOT NULL,
    began_by   TEXT NOT NULL,
    began_at   BIGINT NOT NULL,
    until      BIGINT NOT NULL,
    ended_by   TEXT NOT NULL,    -- '' by time
    ended_at   BIGINT NOT NULL,  -- 0 until somebody has written it down: until alone decides
    latest     BOOLEAN NOT NULL, -- of its project
    revision   BIGINT NOT NULL   -- at which it began, or at which its end was written
);
CREATE UNIQUE INDEX break_glass_latest ON break_glass (project_id) WHERE latest;
CREATE INDEX break_glass_until ON break_glass (until) WHERE ended_at = 0;
CREATE INDEX break_glass_order ON break_glass (began_at, id);

ALTER TABLE gateway_sessions ADD COLUMN end_by TEXT NOT NULL DEFAULT '';     -- who ordered it
ALTER TABLE gateway_sessions ADD COLUMN end_reason TEXT NOT NULL DEFAULT ''; -- for the person in it
CREATE INDEX gateway_sessions_live_project ON gateway_sessions (project_id) WHERE ended_at = 0;
