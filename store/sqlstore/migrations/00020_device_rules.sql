-- What projects demand of devices. Both engines read this file; see 00001.

-- +goose Up
ALTER TABLE projects ADD COLUMN device_rules TEXT NOT NULL DEFAULT '';            -- what has to hold by the device's own word
ALTER TABLE projects ADD COLUMN device_approval BOOLEAN NOT NULL DEFAULT FALSE;   -- lets in approved devices alone
ALTER TABLE devices ADD COLUMN approved_at BIGINT NOT NULL DEFAULT 0;             -- by an administrator or a fleet's token; 0 is never
