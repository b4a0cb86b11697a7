// Package spool keeps recordings on the gateway's own disk from the first byte
// until they are stored elsewhere.
//
// It is a log that is written ahead: a user sees nothing that was not handed to the
// kernel before, so that a process which is killed loses nothing; and nothing that
// is older than SyncLimit and not yet on the disk, so that a power cut loses no more
// than that. Where the disk does not keep up, output waits; where it fails, the
// session is told, and nothing that it has lost is ever taken for kept.
//
// Each session has a folder: meta.json, which says how far it is and is replaced as
// a whole, and the segments, which the package recording writes. What is damaged is
// set aside with the reason, and nothing else waits for it. A segment is removed in
// one place alone (life.go), after its copy has been read back.
//
// Several processes may share a spool, as they do while one takes over from another:
// each folder has an owner, who is alive while he holds the lock on his file.
package spool
