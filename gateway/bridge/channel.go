package bridge

import (
	"errors"
	"sync"
	"sync/atomic"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/recording"
)

// channel is one channel of SSH, open at both sides.
type channel struct {
	*bridge
	id   uint32
	told recording.Opened
	user ssh.Channel
	// server is where the channel leads, whoever has opened it.
	server ssh.Channel
	session

	up, down  atomic.Int64  // bytes of data that passed
	delivered chan struct{} // closed when all data of the server has gone to the user
	drained   chan struct{} // closed when their end has, too
	sent      chan struct{} // closed when all data of the user has gone to the server, and their end
	over      chan struct{} // closed when the user knows how the program ended, or never will
	overOnce  sync.Once
	lastOnce  sync.Once
	progress  atomic.Int64 // reads of output so far
	busy      atomic.Int32 // pumps of output that hold something
	errput    sync.Mutex   // held to write to the user's stderr, and to end that
	ended     bool         // the user's output has been told to end; guarded by errput
}

// channels opens at the other side what one side opens.
func (b *bridge) channels(from *leg) {
	one := func(nc ssh.NewChannel) { b.guard(func() { b.channel(from, nc) }) }
	for {
		select {
		case nc, ok := <-from.chans:
			if !ok {
				return
			}
			one(nc)
		case <-from.last:
			// OpenSSH asks for its last session and that there be no more in one breath, and
			// the library tells of both by different ways: what was opened before is here.
			for n := len(from.chans); n > 0; n-- {
				if nc, ok := <-from.chans; ok {
					one(nc)
				}
			}
			b.sessions.close()
		}
	}
}

// channel judges one channel. What passes is opened beside, for that may take the minutes of a
// connection attempt.
func (b *bridge) channel(from *leg, nc ssh.NewChannel) {
	kind := nc.ChannelType()
	v := b.Policy.judge(channelOpen, from.side, kind, nc.ExtraData())
	switch {
	case v.pass && len(nc.ExtraData()) > maxOpening:
		v.told = errMalformed.Error()
	case v.pass:
		v.told = b.unasked(from, kind, nc.ExtraData())
	}
	if v.told != "" {
		b.refuse(0, kind, v.told)
		nc.Reject(ssh.Prohibited, v.told)
		return
	}
	select {
	case b.slots <- struct{}{}:
	default:
		nc.Reject(ssh.ResourceShortage, b.refuse(0, kind, "this session has too many channels"))
		return
	}
	b.spawn(func() {
		defer func() { <-b.slots }()
		b.open(from, nc, v.record.(recording.Opened))
	})
}

// unasked is why a channel is refused by what was said before, or empty.
func (b *bridge) unasked(from *leg, kind string, extra []byte) string {
	switch {
	case from == b.server && !b.asked(kind, extra):
		return "nobody has asked for this " + printable(kind, maxName)
	case kind == "session" && b.sessions.closed():
		return "this connection was to have no more sessions"
	}
	return ""
}

// open opens the channel at the other side and carries it to its end.
func (b *bridge) open(from *leg, nc ssh.NewChannel, told recording.Opened) {
	b.other(from).rekey.wait()
	far, farRequests, err := b.other(from).conn.OpenChannel(nc.ChannelType(), nc.ExtraData())
	if err != nil {
		var no *ssh.OpenChannelError
		if errors.As(err, &no) {
			nc.Reject(no.Reason, b.unopened(nc.ChannelType(), no.Message))
		} else {
			nc.Reject(ssh.ConnectionFailed, "the other side is gone")
		}
		return
	}
	c := &channel{
		bridge: b, id: b.number.Add(1), told: told,
		delivered: make(chan struct{}), drained: make(chan struct{}), sent: make(chan struct{}), over: make(chan struct{}),
	}
	c.session.init()
	if b.note(c.id, told) != nil {
		go ssh.DiscardRequests(farRequests)
		far.Close()
		nc.Reject(ssh.ResourceShortage, errUnrecorded.Error())
		return
	}
	near, nearRequests, err := nc.Accept()
	if err != nil {
		go ssh.DiscardRequests(farRequests)
		far.Close()
		return
	}
	c.user, c.server = near, far
	userRequests, serverRequests := nearRequests, farRequests
	if from == b.server {
		c.user, c.server = far, near
		userRequests, serverRequests = farRequests, nearRequests
	}
	c.carry(userRequests, serverRequests)
}

// carry passes everything on until both sides have closed the channel.
func (c *channel) carry(userRequests, serverRequests <-chan *ssh.Request) {
	b := c.bridge
	if c.isSession() {
		b.sessions.add(c)
		defer b.sessions.remove(c)
	} else {
		c.begin(c.counting())
	}
	var rest sync.WaitGroup
	spawn := func(f func()) {
		rest.Add(1)
		b.spawn(func() { defer rest.Done(); f() })
	}
	// Nobody has anything to say there. It would stay in memory if nobody took it.
	spawn(func() { discard(c.counted(c.user.Stderr())) })
	if !c.isSession() {
		spawn(func() { discard(c.counted(c.server.Stderr())) })
	}
	spawn(func() { defer close(c.sent); c.pumpUp() })
	spawn(func() { defer close(c.drained); c.pumpDown() })
	spawn(func() {
		b.each(userRequests, func(req *ssh.Request) { c.request(b.user, req) })
		c.begin(c.keeping()) // it never will otherwise
		<-c.sent
		c.server.Close()
	})
	b.each(serverRequests, func(req *ssh.Request) { c.request(b.server, req) })
	c.begin(c.keeping()) // what comes without a program is nothing that may pass unseen
	c.isOver()
	<-c.drained
	c.user.Close()
	rest.Wait()
	c.tap().end()
	if !c.isSession() {
		b.note(c.id, forwardEnd(c.told, c.up.Load(), c.down.Load()))
	}
	b.record(c.id, recording.Close, nil)
}

func (c *channel) isSession() bool { return c.told.Type == "session" }

// request judges one request within the channel and passes it on.
func (c *channel) request(from *leg, req *ssh.Request) {
	at := channelRequest
	if c.isSession() {
		at = sessionRequest
	}
	v := c.Policy.judge(at, from.side, req.Type, req.Payload)
	if v.pass && c.isSession() {
		v.told = c.session.judge(from.side, req.Type)
	}
	switch {
	case v.told != "":
		c.refuse(c.id, req.Type, v.told)
		if from.side == fromUser && c.isSession() {
			c.sessions.mentionIn(c, v.told)
		}
		req.Reply(false, nil)
	case !v.pass:
		req.Reply(false, nil)
	case from.side == fromUser && c.isSession():
		c.requestUp(req, v.record)
	default:
		if from.side == fromServer {
			req.Payload = c.bare(req)
		}
		c.requestDown(from, req, v.record)
	}
}

// unopened records why a channel did not open, as far as the opener is told.
func (b *bridge) unopened(kind, why string) string {
	why = printable(why, maxReason)
	if err := b.note(0, recording.Refused{Type: kind, Sentence: why}); err != nil {
		return err.Error()
	}
	return why
}

// bare is the payload of a request of the server without what nobody records: the words to a
// signal, which no client shows.
func (c *channel) bare(req *ssh.Request) []byte {
	if req.Type != "exit-signal" {
		return req.Payload
	}
	var s exitSignal
	ssh.Unmarshal(req.Payload, &s) // the policy has read it
	s.Message, s.Language = "", ""
	return ssh.Marshal(s)
}

// requestDown passes on what the server says, or what concerns no session.
func (c *channel) requestDown(from *leg, req *ssh.Request, record any) {
	if _, exits := record.(recording.Exited); exits {
		c.settle()
	}
	if c.note(c.id, record) != nil {
		req.Reply(false, nil)
		return
	}
	to := c.user
	if from == c.bridge.user {
		to = c.server
	}
	c.other(from).rekey.wait()
	ok, _ := to.SendRequest(req.Type, req.WantReply, req.Payload)
	req.Reply(ok, nil)
	if _, exits := record.(recording.Exited); exits {
		c.isOver()
	}
}
