-- Which gateway may speak for the recordings of one that is gone, by an administrator's
-- word. The gateways may be deleted, so neither is referred to. Both engines read this
-- file; see 00001.

-- +goose Up
CREATE TABLE recording_heirs (
    gateway_id TEXT PRIMARY KEY,
    heir_id    TEXT NOT NULL,
    until      BIGINT NOT NULL
);
