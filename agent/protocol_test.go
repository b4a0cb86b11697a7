package agent

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/internal/sshtest"
	"github.com/cardea-ssh/cardea/sshcert"
	"golang.org/x/crypto/ssh"
)

// The tests here speak the agent's protocol themselves, to say what no ssh would say.

const ourPID = 4711

type bench struct {
	testing.TB
	ids       *identities
	hostCA    sshtest.KeyPair
	gatewayCA sshtest.KeyPair
	now       time.Time
}

func newBench(t testing.TB) *bench {
	b := &bench{TB: t, hostCA: sshtest.Key(t), gatewayCA: sshtest.Key(t), now: time.Now()}
	b.ids = &identities{now: func() time.Time { return b.now }}
	return b
}

// openGuard is that of an agent which is never locked.
type openGuard struct{}

func (openGuard) locked() bool        { return false }
func (openGuard) lockUp(string) error { return nil }
func (openGuard) unlock(string) error { return nil }

func (b *bench) session(pid int) *session {
	return &session{ids: b.ids, pid: pid, guard: openGuard{}, hostCAs: func() []ssh.PublicKey { return []ssh.PublicKey{b.hostCA.PublicKey()} }, gatewayCAs: func() []ssh.PublicKey { return []ssh.PublicKey{b.gatewayCA.PublicKey()} }, now: func() time.Time { return b.now }, report: func(why string) { b.Log("refused:", why) }}
}

func (b *bench) add(serverID, login string, parent int) *identity {
	b.Helper()
	key := sshtest.Key(b)
	cert := &ssh.Certificate{Key: key.PublicKey(), CertType: ssh.UserCert, Serial: sshcert.NewSerial(), ValidPrincipals: []string{sshcert.UserPrincipal(login, serverID)}}
	if err := cert.SignCert(rand.Reader, b.hostCA); err != nil {
		b.Fatal(err)
	}
	id := &identity{
		serverID: serverID, serverName: "web-1", login: login, parent: parent, cert: cert, blob: cert.Marshal(), expires: b.now.Add(time.Minute),
		sign: func(data []byte) (*ssh.Signature, error) { return key.Sign(rand.Reader, data) },
	}
	b.ids.add(id)
	return id
}

func (b *bench) host(serverID string) (ssh.Signer, []byte) {
	b.Helper()
	key := sshtest.Key(b)
	cert, err := sshcert.BuildHost(sshcert.Host{ServerID: serverID, Serial: 1, Issued: b.now}, key.PublicKey())
	if err != nil {
		b.Fatal(err)
	}
	if err := cert.SignCert(rand.Reader, b.hostCA); err != nil {
		b.Fatal(err)
	}
	return key, cert.Marshal()
}

type bindMessage struct {
	HostKey    []byte
	SessionID  []byte
	Signature  []byte
	Forwarding bool
}

func bindFor(t testing.TB, key ssh.Signer, blob []byte, sessionID string, forwarding bool) bindMessage {
	t.Helper()
	sig, err := key.Sign(rand.Reader, []byte(sessionID))
	if err != nil {
		t.Fatal(err)
	}
	return bindMessage{blob, []byte(sessionID), ssh.Marshal(sig), forwarding}
}

func (m bindMessage) wire() []byte {
	return append(ssh.Marshal(struct {
		Name string `sshtype:"27"`
	}{sessionBind}), ssh.Marshal(m)...)
}

// offers are the certificates that the agent lists.
func offers(t testing.TB, s *session) (blobs []string) {
	t.Helper()
	out := s.answer([]byte{msgRequestIDs})
	if out[0] != msgIDsAnswer {
		t.Fatalf("answer %d to a list", out[0])
	}
	n, rest := binary.BigEndian.Uint32(out[1:]), out[5:]
	for range n {
		var k struct {
			Blob    []byte
			Comment string
			Rest    []byte `ssh:"rest"`
		}
		if err := ssh.Unmarshal(rest, &k); err != nil {
			t.Fatal(err)
		}
		blobs, rest = append(blobs, string(k.Blob)), k.Rest
	}
	return blobs
}

// authRequest is what ssh has signed.
func authRequest(id *identity, change func(*userauth)) []byte {
	a := userauth{
		SessionID: []byte("session"), Type: msgUserauthRequest, User: id.login, Service: "ssh-connection", Method: "publickey",
		HasSig: true, Algorithm: id.cert.Type(), Key: id.blob,
	}
	if change != nil {
		change(&a)
	}
	return ssh.Marshal(a)
}

func signRequest(blob, data []byte) []byte {
	return ssh.Marshal(struct {
		Blob  []byte `sshtype:"13"`
		Data  []byte
		Flags uint32
	}{blob, data, 0})
}

func TestSessionBindIsTakenAtItsWordOnlyIfTheHostSignedIt(t *testing.T) {
	b := newBench(t)
	web, db := ident.New(ident.Server), ident.New(ident.Server)
	id := b.add(web, "alice", 0)
	b.add(db, "alice", 0)
	key, blob := b.host(web)
	good := bindFor(t, key, blob, "session", false)
	stranger := sshtest.Key(t)
	other := bindFor(t, stranger, blob, "session", false)
	otherSession := good
	otherSession.SessionID = []byte("another")
	forgedCA := func() bindMessage {
		fake := newBench(t)
		key, blob := fake.host(web)
		return bindFor(t, key, blob, "session", false)
	}()

	for name, c := range map[string]struct {
		messages []bindMessage
		last     byte
		offered  int
	}{
		"the host's own":                   {[]bindMessage{good}, msgSuccess, 1},
		"signed by another key":            {[]bindMessage{other}, msgExtensionFailure, 0},
		"signed for another session":       {[]bindMessage{otherSession}, msgExtensionFailure, 0},
		"without a signature":              {[]bindMessage{{HostKey: blob, SessionID: []byte("session")}}, msgExtensionFailure, 0},
		"without a session":                {[]bindMessage{bindFor(t, key, blob, "", false)}, msgExtensionFailure, 0},
		"forwarded":                        {[]bindMessage{bindFor(t, key, blob, "session", true)}, msgExtensionFailure, 0},
		"forwarded behind a good one":      {[]bindMessage{good, bindFor(t, key, blob, "second", true)}, msgExtensionFailure, 0},
		"twice":                            {[]bindMessage{good, good}, msgExtensionFailure, 0},
		"a second one for another session": {[]bindMessage{good, bindFor(t, key, blob, "second", false)}, msgExtensionFailure, 0},
		"a good one after a bad one":       {[]bindMessage{other, good}, msgSuccess, 0},
		"a certificate of another CA":      {[]bindMessage{forgedCA}, msgSuccess, 0},
		"a plain key":                      {[]bindMessage{bindFor(t, stranger, stranger.PublicKey().Marshal(), "session", false)}, msgSuccess, 0},
		"a key that is none":               {[]bindMessage{{HostKey: []byte("x"), SessionID: []byte("s")}}, msgExtensionFailure, 0},
		"nothing":                          {[]bindMessage{{}}, msgExtensionFailure, 0},
	} {
		s := b.session(0)
		var last []byte
		for _, m := range c.messages {
			last = s.answer(m.wire())
		}
		got := offers(t, s)
		if last[0] != c.last || len(got) != c.offered || c.offered == 1 && got[0] != string(id.blob) {
			t.Errorf("%s: answer %d and %d identities, want %d and %d", name, last[0], len(got), c.last, c.offered)
		}
	}
}

func TestOnlyTheRightAuthenticationRequestIsSigned(t *testing.T) {
	b := newBench(t)
	web := ident.New(ident.Server)
	id, other := b.add(web, "alice", ourPID), b.add(ident.New(ident.Server), "alice", 0)
	key, blob := b.host(web)
	_, otherBlob := b.host(ident.New(ident.Server))
	hostbound := func(host []byte) func(*userauth) {
		return func(a *userauth) {
			a.Method, a.HostKey = "publickey-hostbound-v00@openssh.com", ssh.Marshal(struct{ K []byte }{host})
		}
	}
	for name, c := range map[string]struct {
		blob, data []byte
		unbound    bool
		ok         bool
	}{
		"as ssh asks":                      {id.blob, authRequest(id, nil), false, true},
		"as an old ssh asks":               {id.blob, authRequest(id, nil), true, true},
		"with the host key":                {id.blob, authRequest(id, hostbound(blob)), false, true},
		"with another host key":            {id.blob, authRequest(id, hostbound(otherBlob)), false, false},
		"with a host key and no bind":      {id.blob, authRequest(id, hostbound(blob)), true, false},
		"another login":                    {id.blob, authRequest(id, func(a *userauth) { a.User = "root" }), false, false},
		"another session":                  {id.blob, authRequest(id, func(a *userauth) { a.SessionID = []byte("x") }), false, false},
		"another service":                  {id.blob, authRequest(id, func(a *userauth) { a.Service = "ssh-userauth" }), false, false},
		"another method":                   {id.blob, authRequest(id, func(a *userauth) { a.Method = "hostbased" }), false, false},
		"another algorithm":                {id.blob, authRequest(id, func(a *userauth) { a.Algorithm = "ssh-ed25519" }), false, false},
		"another key inside":               {id.blob, authRequest(id, func(a *userauth) { a.Key = other.blob }), false, false},
		"no signature wanted":              {id.blob, authRequest(id, func(a *userauth) { a.HasSig = false }), false, false},
		"bytes behind it":                  {id.blob, append(authRequest(id, nil), 0), false, false},
		"a file to sign (ssh-keygen -Y)":   {id.blob, []byte("SSHSIG\x00\x00\x00\x01x"), false, false},
		"nothing":                          {id.blob, nil, false, false},
		"the identity of another server":   {other.blob, authRequest(other, nil), false, false},
		"the plain key of the certificate": {id.cert.Key.Marshal(), authRequest(id, nil), false, false},
	} {
		s := b.session(ourPID)
		if !c.unbound {
			s.answer(bindFor(t, key, blob, "session", false).wire())
		}
		out := s.answer(signRequest(c.blob, c.data))
		if (out[0] == msgSignResponse) != c.ok {
			t.Errorf("%s: answer %d", name, out[0])
			continue
		}
		if !c.ok {
			continue
		}
		var answer struct {
			Sig []byte `sshtype:"14"`
		}
		var sig ssh.Signature
		if ssh.Unmarshal(out, &answer) != nil || ssh.Unmarshal(answer.Sig, &sig) != nil || id.cert.Key.Verify(c.data, &sig) != nil {
			t.Errorf("%s: the signature does not verify", name)
		}
	}
}

func TestTheProcessThatAskedGetsItsOwn(t *testing.T) {
	b := newBench(t)
	web := ident.New(ident.Server)
	mine := b.add(web, "alice", ourPID)
	newer := b.add(web, "alice", 99)
	key, blob := b.host(web)
	for name, c := range map[string]struct {
		pid  int
		bind bool
		want *identity
	}{
		"by its process id": {ourPID, true, mine}, "else the newest for the server": {5, true, newer}, "without a bind by its process id": {ourPID, false, mine},
	} {
		s := b.session(c.pid)
		if c.bind {
			s.answer(bindFor(t, key, blob, "session", false).wire())
		}
		if got := offers(t, s); len(got) != 1 || got[0] != string(c.want.blob) {
			t.Errorf("%s: %d identities, or another one", name, len(got))
		}
	}
	b.add(ident.New(ident.Server), "alice", 7)
	s := b.session(7)
	s.answer(bindFor(t, key, blob, "session", false).wire())
	if got := offers(t, s); len(got) != 0 {
		t.Error("a process that asked for another server got an identity for this one")
	}
}

func TestAClientWithoutBindGetsTheNewestFive(t *testing.T) {
	b := newBench(t)
	var ids []*identity
	for range maxOffered + 3 {
		ids = append(ids, b.add(ident.New(ident.Server), "alice", 0))
	}
	got := offers(t, b.session(1))
	if len(got) != maxOffered || got[0] != string(ids[len(ids)-1].blob) {
		t.Errorf("%d identities, or not the newest first", len(got))
	}
}

// An ssh before 8.9 does not say that it forwards. The host that it is connected to asks
// through it for what the user opens next.
func TestAHostBehindAForwardedSocketGetsNoIdentityOfAnotherServer(t *testing.T) {
	b := newBench(t)
	own := b.add(ident.New(ident.Server), "alice", ourPID)
	s := b.session(ourPID)
	s.answer(signRequest(own.blob, authRequest(own, nil)))
	b.now = b.now.Add(useGrace + 1)
	next := b.add(ident.New(ident.Server), "alice", 99)
	if got := offers(t, s); len(got) != 0 {
		t.Errorf("%d identities of others", len(got))
	}
	if out := s.answer(signRequest(next.blob, authRequest(next, nil))); out[0] != msgFailure {
		t.Error("signed for another server")
	}
	again := b.add(ident.New(ident.Server), "alice", ourPID) // the same process id, much later
	if got := offers(t, s); len(got) != 1 || got[0] != string(again.blob) {
		t.Error("a process does not get its own new identity")
	}
}

func TestTheProcessesThatAreRememberedAreBounded(t *testing.T) {
	b := newBench(t)
	for pid := range maxOwners + 2 { // and 0, which is none
		b.ids.own(pid)
	}
	if len(b.ids.owned) != maxOwners || len(b.ids.owners) != maxOwners || b.ids.owners[1] || !b.ids.owners[2] {
		t.Errorf("%d are remembered, want the newest %d", len(b.ids.owners), maxOwners)
	}
}

func TestIdentitiesEndWithTheirTimeAndShortlyAfterTheirUse(t *testing.T) {
	b := newBench(t)
	web := ident.New(ident.Server)
	b.add(web, "alice", ourPID)
	s := b.session(ourPID)
	b.now = b.now.Add(time.Minute - 1)
	if len(offers(t, s)) != 1 {
		t.Error("gone before its end")
	}
	b.now = b.now.Add(1)
	if len(offers(t, s)) != 0 {
		t.Error("still there at its end")
	}
	id := b.add(web, "alice", ourPID)
	s.answer(signRequest(id.blob, authRequest(id, nil)))
	b.now = b.now.Add(useGrace)
	if len(offers(t, s)) != 1 {
		t.Error("gone within the grace after its use")
	}
	b.now = b.now.Add(1)
	if out := s.answer(signRequest(id.blob, authRequest(id, nil))); out[0] != msgFailure {
		t.Error("signed long after its use")
	}
	for range maxLive + 10 {
		b.ids.list = append(b.ids.list, id) // the cheap way to many
	}
	b.now = b.now.Add(-time.Hour)
	b.add(web, "alice", 1)
	if n := len(b.ids.list); n != maxLive {
		t.Errorf("%d identities in memory, want at most %d", n, maxLive)
	}
}

func TestNothingCanBeAddedToTheAgent(t *testing.T) {
	s := newBench(t).session(0)
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, msg := range map[string][]byte{
		"add": append([]byte{17}, private...), "add constrained": {25}, "remove": {18}, "remove all": {19},
		"smartcard": {20}, "an answer": {12}, "a type that does not exist": {255}, "protocol 1": {1}, "a list with something behind it": {11, 0},
		"an unknown extension": ssh.Marshal(struct {
			Name string `sshtype:"27"`
		}{"query"}),
		"an extension without a name": {27}, "a sign request without anything": {13},
	} {
		if out := s.answer(msg); len(out) != 1 || out[0] != msgFailure {
			t.Errorf("%s: answer %v", name, out)
		}
	}
}

// What the socket reads is a stranger's, as far as its form goes.
func TestFramesAreBounded(t *testing.T) {
	for name, c := range map[string]struct {
		head  uint32
		alive bool
	}{
		"length 0": {0, false}, "4 GiB": {0xffffffff, false}, "one above the limit": {maxMessage + 1, false}, "a length that does not come": {maxMessage, true},
	} {
		client, server := net.Pipe()
		done := make(chan error, 1)
		go func() { done <- newBench(t).session(0).serve(server) }()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		client.SetDeadline(time.Now().Add(5 * time.Second))
		client.Write(binary.BigEndian.AppendUint32(nil, c.head))
		if c.alive {
			client.Write([]byte("x"))
			runtime.ReadMemStats(&after)
			if grown := int64(after.TotalAlloc) - int64(before.TotalAlloc); grown > 128<<10 {
				t.Errorf("%s: took %d bytes for what was promised", name, grown)
			}
			client.Close()
		}
		if err := <-done; err == nil {
			t.Errorf("%s: no error", name)
		}
		client.Close()
	}
	client, server := net.Pipe()
	go newBench(t).session(0).serve(server)
	client.SetDeadline(time.Now().Add(5 * time.Second))
	big := make([]byte, 4+maxMessage)
	binary.BigEndian.PutUint32(big, maxMessage)
	big[4] = msgSignRequest
	go client.Write(big)
	answer := make([]byte, 5)
	if _, err := io.ReadFull(client, answer); err != nil || answer[4] != msgFailure {
		t.Errorf("at the limit: %v, %v", answer, err)
	}
	client.Close()
}

func FuzzAgentMessages(f *testing.F) {
	b := newBench(f)
	web := ident.New(ident.Server)
	id := b.add(web, "alice", 0)
	key, blob := b.host(web)
	f.Add([]byte{msgRequestIDs})
	f.Add(bindFor(f, key, blob, "session", false).wire())
	f.Add(signRequest(id.blob, authRequest(id, nil)))
	f.Add(signRequest(id.blob, []byte(strings.Repeat("\x00\x00\x00\x01", 20))))
	f.Fuzz(func(t *testing.T, msg []byte) {
		if len(msg) == 0 {
			return
		}
		s := &session{ids: b.ids, guard: openGuard{}, hostCAs: func() []ssh.PublicKey { return nil }, now: time.Now, report: func(string) {}}
		for _, out := range [][]byte{s.answer(msg), s.answer([]byte{msgRequestIDs})} {
			if len(out) == 0 || len(out) > maxMessage {
				t.Fatalf("answer of %d bytes", len(out))
			}
		}
	})
}
