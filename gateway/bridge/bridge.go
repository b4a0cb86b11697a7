package bridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/recording"
	"github.com/cardea-ssh/cardea/sshcert"
)

// Options are what one session needs. All fields but Recorder, Refused, Held, Log and Now are.
type Options struct {
	// User is the connection to the user, from the first byte of SSH on; Server the one to
	// the server. Run closes both.
	User, Server net.Conn
	// HostKey is the gateway's own with a host certificate for this server; TargetKey a fresh
	// one with a user certificate for it.
	HostKey, TargetKey ssh.Signer
	// PlainKey is HostKey without the certificate, for clients that ask for no certificate;
	// nil where these are to fail.
	PlainKey ssh.Signer
	// Expect is what the user's certificate must prove, except the time. Fresh is the SHA-256
	// of the public key (in wire format) that the session was granted to; a certificate for
	// any other key is refused, whoever signed it.
	Expect sshcert.ExpectUser
	Fresh  [32]byte
	// ExpectHost is what the server must prove, except the time.
	ExpectHost sshcert.ExpectHost
	// Policy is what the project allows besides a shell, commands and file transfer.
	Policy Policy
	// Recorder takes what passes; nil means that nothing is recorded.
	Recorder Recorder
	// Required says that the session ends when it cannot be recorded any more.
	Required bool
	// Input says that what the user sends to shells and commands is recorded too.
	Input bool
	// Refused hears of each refusal, at most maxRefusals a session. It must not block.
	Refused func(Refusal)
	Log     *slog.Logger
	// Held, if not nil, is told how much waits for a reader.
	Held *Held
	// Now is the clock that certificates are judged by; nil means time.Now.
	Now func() time.Time

	// The constants, but for tests that cannot wait for them.
	kexTime, authTime, recordTime time.Duration
	// began, in a test, is shown what others do not see.
	began func(*bridge)
}

// Recorder takes the events of one session; it is called by one goroutine at a time.
type Recorder interface {
	// Record returns when the event has been written so that a kill -9 cannot lose it; it
	// blocks while a sync is overdue. An error means that nothing can be recorded any more.
	// It does not keep the event's data.
	Record(recording.Event) error
}

// Refusal is a channel or a request that was not passed on.
type Refusal struct {
	Time     time.Time
	Type     string // as SSH calls it; printable, at most maxName bytes
	Sentence string // what the user was told
}

// Causes of a session's end, as api.SessionEnd has them; a context may name others.
const (
	CauseClient = "client"
	CauseServer = "server"
	CauseError  = "error"
)

// End is the cause of a context (context.WithCancelCause) that ends a session by order. The
// sentence, if there is one, is told to the user.
type End struct{ Cause, Sentence string }

func (e End) Error() string { return e.Cause + ": " + e.Sentence }

// Result is how a session ended.
type Result struct {
	Cause    string
	Sentence string // why, for people; may be empty
	// Up and Down count the bytes of both connections' TCP streams: from the user to us, and
	// from us to the user.
	Up, Down int64
	// Unrecorded is why recording stopped before the session did, which happens only if it
	// was not required; nil otherwise.
	Unrecorded error
	// Refusals counts those beyond what Refused was told.
	Refusals int
	// HostKey is what the server showed first, also where it was not good; nil if it showed
	// none.
	HostKey ssh.PublicKey
}

// bridge is one session.
type bridge struct {
	Options
	user, server *leg
	rec          recorder
	refusals     refusals
	forwards     forwards
	sessions     sessions
	holding      holding
	slots        chan struct{}                 // one for each channel that may live
	number       atomic.Uint32                 // of the channel that was opened last
	shown        atomic.Pointer[ssh.PublicKey] // the server's first host key

	work   sync.WaitGroup
	once   sync.Once
	ending chan struct{} // closed when end says so
	why    End           // readable once ending is closed
}

// Run carries one session to its end, and returns when nothing of it is left: both
// connections are closed and all goroutines are gone, but those that a hanging Recorder holds. The error is for the log and is nil
// where the session ended as sessions do.
func Run(ctx context.Context, o Options) (Result, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.kexTime, o.authTime, o.recordTime = cmp.Or(o.kexTime, kexTime), cmp.Or(o.authTime, authTime), cmp.Or(o.recordTime, recordTime)
	b := &bridge{Options: o, slots: make(chan struct{}, maxChannels), ending: make(chan struct{})}
	b.rec.init(o.Recorder, o.Required, o.recordTime, func() { b.end(End{CauseError, errHangs.Error()}) })
	b.user, b.server = newLeg(o.User), newLeg(o.Server)
	b.user.watchKeys(o.kexTime, b.lateUser)
	b.server.watchKeys(o.kexTime, b.lateServer)
	if o.Held != nil {
		o.Held.b.Store(b)
		defer o.Held.b.Store(nil)
	}
	if o.began != nil {
		o.began(b)
	}
	defer b.user.Close()
	defer b.server.Close()
	err := b.run(ctx)
	res := Result{Cause: b.why.Cause, Sentence: b.why.Sentence, Up: b.user.read.Load(), Down: b.user.written.Load()}
	res.Unrecorded, res.Refusals = b.rec.lost(), b.refusals.unsaid()
	if key := b.shown.Load(); key != nil {
		res.HostKey = *key
	}
	return res, err
}

func (b *bridge) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { b.end(ordered(ctx)) })
	defer stop()
	err := b.handshake()
	if err != nil {
		b.end(End{CauseError, err.Error()})
		b.user.Close()
		b.server.Close()
		b.user.release()
		b.server.release()
		b.wait()
		return err
	}
	b.serve()
	<-b.ending
	b.farewell()
	b.wait()
	if b.why.Cause == CauseError {
		return errors.New(b.why.Sentence)
	}
	return nil
}

// wait returns when no goroutine of the session is left, but those that wait for a recorder that
// does not return. They pass nothing on any more: both connections are closed.
func (b *bridge) wait() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.work.Wait()
	}()
	select {
	case <-done:
		return
	case <-b.rec.hangs:
	}
	select {
	case <-done:
	case <-time.After(hungTime):
	}
}

// ordered is what ctx was ended for.
func ordered(ctx context.Context) End {
	var e End
	if errors.As(context.Cause(ctx), &e) {
		return e
	}
	return End{Cause: CauseError, Sentence: context.Cause(ctx).Error()}
}

// end begins the end of the session; the first cause holds.
func (b *bridge) end(why End) {
	b.once.Do(func() {
		b.why = why
		close(b.ending)
	})
}

// spawn runs f as part of the session: Run waits for it, and a panic in it ends this session
// and no other.
func (b *bridge) spawn(f func()) {
	b.work.Go(func() { b.guard(f) })
}

func (b *bridge) guard(f func()) {
	defer func() {
		if p := recover(); p != nil {
			b.Log.Error("a session panicked", "panic", p, "stack", string(debug.Stack()))
			b.end(End{CauseError, fmt.Sprintf("internal error of the gateway: %.200v", p)})
		}
	}()
	f()
}

// lateUser ends a session whose user does not end a key exchange. There is no way to tell him.
func (b *bridge) lateUser() {
	b.end(End{CauseError, "a key exchange took too long"})
	b.user.Close()
}

// lateServer does so where it is the server.
func (b *bridge) lateServer() {
	b.end(End{CauseError, "the server began a key exchange and did not end it"})
	b.server.Close()
}

// serve starts what carries the session after both handshakes.
func (b *bridge) serve() {
	b.rest()
	b.holding.base.Store(b.holding.idle.Load())
	b.spawn(func() { b.channels(b.user) })
	b.spawn(func() { b.channels(b.server) })
	b.spawn(func() { b.globals(b.user) })
	b.spawn(func() { b.globals(b.server) })
	b.spawn(func() { b.await(b.user, CauseClient) })
	b.spawn(func() { b.await(b.server, CauseServer) })
}

// await ends the session with the connection of l.
func (b *bridge) await(l *leg, cause string) {
	err := l.conn.Wait()
	b.Log.Debug("connection ended", "side", cause, "error", err)
	b.end(End{Cause: cause})
}

// farewell lets the user have what he is still owed, and closes both connections.
func (b *bridge) farewell() {
	switch {
	case b.why.Cause == CauseClient:
		// There is nobody to tell, and sshd also drops a session with its connection.
	case b.why.Cause == CauseServer:
		b.drain(lastWords)
	case b.why.Sentence != "":
		b.sessions.tell(sentenceTime)
	}
	b.server.Close()
	b.user.release()
	b.server.release()
	b.user.finish(finishTime)
}

// drain waits until no channel is left, or d is over: the server has closed them, and the user
// still has to read what came before.
func (b *bridge) drain(d time.Duration) {
	for end := time.Now().Add(d); len(b.slots) > 0 && time.Now().Before(end); {
		time.Sleep(drainLook)
	}
}
