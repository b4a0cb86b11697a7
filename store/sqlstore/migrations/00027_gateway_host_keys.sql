-- The SSH host key with which a gateway stands in recorded servers' place, for programs that
-- check no host certificates; '' for a gateway that has told none. Both engines read this
-- file; see 00001.

-- +goose Up
ALTER TABLE gateways ADD COLUMN host_key TEXT NOT NULL DEFAULT ''; -- authorized_keys form
