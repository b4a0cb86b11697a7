// Package agent is Cardea's local agent: one process for each user that holds what a
// connection needs and no file should. It has two sockets in a folder of the user's own
// (agent/socket; on Windows two pipes).
//
// The control socket is for our own programs: ProxyCommand asks it for a connection, and
// gets a sealed hello for each route. For each connection the agent makes a fresh Ed25519
// key, has it certified by the control plane and keeps both in memory until shortly after
// their first use, or until the certificate ends.
//
// The other speaks the protocol of ssh-agent (draft-ietf-sshm-ssh-agent, and OpenSSH's
// PROTOCOL.agent for session-bind@openssh.com). It is only for the connections that were
// asked for: it learns by session-bind which host a connection goes to, checks that host's
// certificate itself, and offers the one identity that is meant for it. It signs only what
// is the authentication request of the right login on the right connection; nothing can be
// added to it, and a forwarded connection gets nothing.
//
// Beside that it keeps the catalog of servers by a long poll, and the user's ssh
// configuration and known_hosts file in step with it.
package agent
