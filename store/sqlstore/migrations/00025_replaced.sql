-- In which device's place one comes that asks to be signed in, so that the page can say so
-- before somebody says yes. Both engines read this file; see 00001.

-- +goose Up
ALTER TABLE auth_requests ADD COLUMN replaces TEXT NOT NULL DEFAULT '';     -- its id or name, as the link has it; '' is none
ALTER TABLE auth_requests ADD COLUMN replaces_key TEXT NOT NULL DEFAULT ''; -- or the thumbprint of its key
ALTER TABLE device_grants ADD COLUMN replaces TEXT NOT NULL DEFAULT '';
ALTER TABLE device_grants ADD COLUMN replaces_key TEXT NOT NULL DEFAULT '';
