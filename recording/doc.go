// Package recording is the format in which a gateway keeps what happened in a
// session: events in, sealed and signed segments out, and back.
//
// A recording is one gateway session. It is a chain of segments of bounded size,
// each of which can be stored, verified and read alone. Whoever keeps them can
// neither read them nor change them unnoticed: frames are encrypted under a key of
// the session that is wrapped to the project's age recipients, chained by hash,
// and signed by the gateway.
//
// docs/recording.md specifies it byte by byte.
package recording
