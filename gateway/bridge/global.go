package bridge

import (
	"cmp"
	"encoding/binary"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/recording"
)

// globals answers the global requests of one side, one by one: their answers carry no number
// and must keep their order (RFC 4254, section 4).
func (b *bridge) globals(from *leg) {
	b.each(from.requests, func(req *ssh.Request) { b.global(from, req) })
}

func (b *bridge) global(from *leg, req *ssh.Request) {
	v := b.Policy.judge(globalRequest, from.side, req.Type, req.Payload)
	if !v.pass {
		if v.told != "" {
			b.refuse(0, req.Type, v.told)
			if from.side == fromUser {
				b.sessions.mention(v.told)
			}
		}
		req.Reply(false, nil)
		return
	}
	if b.note(0, v.record) != nil {
		req.Reply(false, nil)
		return
	}
	switch req.Type {
	case "tcpip-forward", "cancel-tcpip-forward":
		b.forwardTCP(req)
	case "streamlocal-forward@openssh.com", "cancel-streamlocal-forward@openssh.com":
		b.forwardUnix(req)
	case "no-more-sessions@openssh.com":
		// It is ours to keep: sshd would take a session that was asked for before, and that
		// we are about to open, for an attack.
		select {
		case from.last <- struct{}{}:
		default: // said before
		}
		req.Reply(true, nil)
	default:
		b.pass(from, req)
	}
}

// pass sends a request to the other side and tells whether it was granted. What else an
// answer could hold is nothing that these requests ask for, and nobody records it.
func (b *bridge) pass(from *leg, req *ssh.Request) bool {
	b.other(from).rekey.wait()
	ok, _, err := b.other(from).conn.SendRequest(req.Type, req.WantReply, req.Payload)
	ok = ok && err == nil
	req.Reply(ok, nil)
	return ok || err == nil && !req.WantReply
}

func (b *bridge) other(l *leg) *leg {
	if l == b.user {
		return b.server
	}
	return b.user
}

// forwardTCP lets the server listen for the user, or listen no more. Port 0 is any; the
// answer says which.
func (b *bridge) forwardTCP(req *ssh.Request) {
	var l listenTCP
	ssh.Unmarshal(req.Payload, &l) // the policy has read it
	if req.Type == "cancel-tcpip-forward" {
		if b.pass(b.user, req) {
			b.forwards.tcp.drop(l.Port)
		}
		return
	}
	if !b.forwards.tcp.ask(l.Port, l.Port == 0) {
		b.tooManyForwards(req)
		return
	}
	b.server.rekey.wait()
	ok, answer, err := b.server.conn.SendRequest(req.Type, req.WantReply, req.Payload)
	port := l.Port
	ok = ok && err == nil
	if ok && port == 0 && len(answer) == 4 {
		port = binary.BigEndian.Uint32(answer)
	} else {
		answer = nil
	}
	b.forwards.tcp.settle(l.Port, port, l.Port == 0, ok || err == nil && !req.WantReply)
	req.Reply(ok, answer)
}

func (b *bridge) forwardUnix(req *ssh.Request) {
	var l listenUnix
	ssh.Unmarshal(req.Payload, &l)
	if req.Type == "cancel-streamlocal-forward@openssh.com" {
		if b.pass(b.user, req) {
			b.forwards.unix.drop(l.Path)
		}
		return
	}
	if !b.forwards.unix.ask(l.Path, false) {
		b.tooManyForwards(req)
		return
	}
	ok := b.pass(b.user, req)
	b.forwards.unix.settle(l.Path, l.Path, false, ok)
}

func (b *bridge) tooManyForwards(req *ssh.Request) {
	b.sessions.mention(b.refuse(0, req.Type, "this session has too many remote forwards"))
	req.Reply(false, nil)
}

// asked reports whether the user has asked for what the server opens: a server opens nothing
// to a user on its own.
func (b *bridge) asked(kind string, extra []byte) bool {
	switch kind {
	case "forwarded-tcpip":
		var a addressPair
		ssh.Unmarshal(extra, &a)
		return b.forwards.tcp.has(a.Port)
	case "forwarded-streamlocal@openssh.com":
		var u forwardedUnix
		ssh.Unmarshal(extra, &u)
		return b.forwards.unix.has(u.Path)
	case "auth-agent@openssh.com":
		return b.forwards.agent.Load()
	case "x11":
		return b.forwards.takeX11()
	}
	return true
}

// forwardEnd is what a recording says at the end of a forward.
func forwardEnd(o recording.Opened, up, down int64) recording.Forwarded {
	return recording.Forwarded{To: cmp.Or(o.To, o.Type), From: o.From, Up: up, Down: down}
}
