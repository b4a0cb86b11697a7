-- The second address of gateways, where they are reached inside TLS, and the
-- administrator's word that one takes no connections. Both engines read this file;
-- see 00001.

-- +goose Up
ALTER TABLE gateways ADD COLUMN tls_address TEXT NOT NULL DEFAULT '';
ALTER TABLE gateways ADD COLUMN refuse_connections BOOLEAN NOT NULL DEFAULT false;
ALTER TABLE enrolment_tokens ADD COLUMN tls_address TEXT NOT NULL DEFAULT '';
