package e2e

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/hello"
	"github.com/cardea-ssh/cardea/sshcert"
)

// mallory is what mallory holds during a script. The zero value is nothing.
type mallory struct {
	loot    map[string]*loot
	sealed  map[string]sealed
	answers map[string][]byte // recorded answers of gateways
	posing  map[string]func() // as which gateways; ends it
}

// loot is a connection that the control plane allowed, with its fresh key.
type loot struct {
	key        ed25519.PrivateKey
	connection api.Connection
}

// sealed is a hello, ready to be sent any number of times.
type sealed struct {
	message []byte
	keys    hello.AnswerKeys
}

func (m *mallory) close() {
	for _, stop := range m.posing {
		stop()
	}
}

// malloryVerbs are what no honest program does:
//
//	certify PERSON SERVER NAME   have a fresh key certified; it goes into the
//	                             files NAME and NAME-cert.pub, the rest is kept
//	seal NAME HELLO [KEY]        seal a hello for all gateways of the ticket,
//	                             signed with its key, or with that of loot KEY
//	send HELLO GATEWAY           send it, say what is answered: accepted,
//	                             refused, impostor or closed (code 1 but for the first)
//	impostor GATEWAY WHAT        answer at a dead gateway's address with: banner,
//	                             junk, silence, close, or replay:HELLO (the
//	                             answer that this hello once got); "off" ends it
//	replay-call PERSON SERVER    ask for a certificate, and then send the same
//	                             bytes again, as they are and changed
//	wear SERVER OTHER            have OTHER's sshd show SERVER's host key and
//	                             certificate
func malloryVerbs() map[string]verb {
	return map[string]verb{
		"certify": certify, "seal": seal, "send": send, "impostor": impostor, "replay-call": replayCall, "wear": wear,
	}
}

func certify(c *call, args []string) (int, error) {
	if len(args) != 3 || c.people[args[0]] == nil {
		return 0, errUsage
	}
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	client, err := c.people[args[0]].Client(ctx)
	if err != nil {
		return 0, err
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return 0, err
	}
	sshKey, err := ssh.NewPublicKey(public)
	if err != nil {
		return 0, err
	}
	l := &loot{key: private}
	in := api.Connect{Server: args[1], PublicKey: sshcert.Line(sshKey)}
	if err := client.Send(ctx, http.MethodPost, "/v1/connect", in, &l.connection); err != nil {
		return 0, err
	}
	if c.mallory.loot == nil {
		c.mallory.loot = map[string]*loot{}
	}
	c.mallory.loot[args[2]] = l
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return 0, err
	}
	file := filepath.Join(c.dir, args[2])
	return 0, errors.Join(
		os.WriteFile(file, pem.EncodeToMemory(block), 0o600),
		os.WriteFile(file+"-cert.pub", []byte(l.connection.Certificate+"\n"), 0o600))
}

func seal(c *call, args []string) (int, error) {
	if len(args) < 2 || c.mallory.loot[args[0]] == nil {
		return 0, errUsage
	}
	l := c.mallory.loot[args[0]]
	key := l.key
	if len(args) == 3 {
		if c.mallory.loot[args[2]] == nil {
			return 0, errUsage
		}
		key = c.mallory.loot[args[2]].key
	}
	var all []hello.Recipient
	for _, route := range l.connection.Routes {
		for _, r := range route.Recipients {
			all = append(all, hello.Recipient{Gateway: r.Gateway, PublicKey: r.Public})
		}
	}
	message, keys, err := hello.Seal(key, l.connection.Ticket, all, time.Now())
	if err != nil {
		return 0, err
	}
	if c.mallory.sealed == nil {
		c.mallory.sealed = map[string]sealed{}
	}
	c.mallory.sealed[args[1]] = sealed{message, keys}
	return 0, nil
}

// gatewayAddress is where clients dial a gateway.
func (w *world) gatewayAddress(name string) (string, error) {
	var g api.Gateway
	_, err := w.stage.Client().Get(context.Background(), "/v1/gateways/"+name, nil, &g)
	return g.Address, err
}

func send(c *call, args []string) (int, error) {
	if len(args) != 2 {
		return 0, errUsage
	}
	s, ok := c.mallory.sealed[args[0]]
	if !ok {
		return 0, errUsage
	}
	address, err := c.gatewayAddress(args[1])
	if err != nil {
		return 0, err
	}
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(longest / 3))
	if _, err := conn.Write(s.message); err != nil {
		return 0, err
	}
	var frame bytes.Buffer
	answer, err := hello.ReadAnswer(io.TeeReader(conn, &frame), s.keys)
	if c.mallory.answers == nil {
		c.mallory.answers = map[string][]byte{}
	}
	c.mallory.answers[args[0]] = frame.Bytes()
	switch {
	case errors.Is(err, hello.ErrImpostor):
		fmt.Fprintln(c.out, "impostor")
	case err != nil:
		fmt.Fprintln(c.out, "closed")
	case !answer.Accepted:
		fmt.Fprintf(c.out, "refused %s: %s\n", answer.Kind, answer.Sentence)
	default:
		banner := make([]byte, len("SSH-2.0-"))
		if _, err := io.ReadFull(conn, banner); err != nil {
			return 0, err
		}
		fmt.Fprintf(c.out, "accepted %s\n", banner)
		return 0, nil
	}
	return 1, nil
}

func impostor(c *call, args []string) (int, error) {
	if len(args) != 2 {
		return 0, errUsage
	}
	if stop := c.mallory.posing[args[0]]; stop != nil {
		stop()
		delete(c.mallory.posing, args[0])
	}
	if args[1] == "off" {
		return 0, nil
	}
	address, err := c.gatewayAddress(args[0])
	if err != nil {
		return 0, err
	}
	answer, err := c.mallory.answer(args[1])
	if err != nil {
		return 0, err
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return 0, err
	}
	stopped := make(chan struct{})
	if c.mallory.posing == nil {
		c.mallory.posing = map[string]func(){}
	}
	c.mallory.posing[args[0]] = func() { l.Close(); <-stopped }
	go func() {
		defer close(stopped)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go pretend(conn, answer)
		}
	}()
	return 0, nil
}

// answer is what an impostor says; nil for nothing, for ever.
func (m *mallory) answer(what string) ([]byte, error) {
	switch name, replay := bytes.CutPrefix([]byte(what), []byte("replay:")); {
	case replay && m.answers[string(name)] != nil:
		return m.answers[string(name)], nil
	case what == "banner":
		return []byte("SSH-2.0-OpenSSH_9.2p1\r\n"), nil
	case what == "junk":
		junk := make([]byte, 4*hello.AnswerSize)
		rand.Read(junk)
		return junk, nil
	case what == "close":
		return []byte{}, nil
	case what == "silence":
		return nil, nil
	}
	return nil, errUsage
}

// pretend reads what a client says first and answers.
func pretend(conn net.Conn, answer []byte) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(longest / 3))
	if _, err := hello.ReadMessage(conn); err != nil || len(answer) == 0 && answer != nil {
		return
	}
	conn.Write(answer)
	io.Copy(io.Discard, conn)
}

// recorder keeps the last request that passed, as it was sent.
type recorder struct {
	under http.RoundTripper
	last  *http.Request
	body  []byte
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		var err error
		if r.body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
		req.Body = io.NopCloser(bytes.NewReader(r.body))
	}
	r.last = req.Clone(context.Background())
	return r.under.RoundTrip(req)
}

func replayCall(c *call, args []string) (int, error) {
	if len(args) != 2 || c.people[args[0]] == nil {
		return 0, errUsage
	}
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	client, err := c.people[args[0]].Client(ctx)
	if err != nil {
		return 0, err
	}
	spy := &recorder{under: http.DefaultTransport}
	honest := &api.Client{URL: client.URL, Prover: client.Prover, Token: client.Token, HTTP: &http.Client{Transport: spy}}
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return 0, err
	}
	fresh, err := ssh.NewPublicKey(public)
	if err != nil {
		return 0, err
	}
	in := api.Connect{Server: args[1], PublicKey: sshcert.Line(fresh)}
	if err := honest.Send(ctx, http.MethodPost, "/v1/connect", in, nil); err != nil {
		return 0, err
	}
	for _, try := range []struct {
		what string
		tune func(*http.Request)
	}{
		{"the same call", func(*http.Request) {}},
		{"with another idempotency key", func(r *http.Request) { r.Header.Set(api.HeaderIdempotency, rand.Text()) }},
		{"another path", func(r *http.Request) { r.URL.Path = "/v1/logout" }},
		{"another method", func(r *http.Request) { r.Method = http.MethodGet; r.URL.Path = "/v1/session" }},
	} {
		req := spy.last.Clone(ctx)
		req.Body = io.NopCloser(bytes.NewReader(spy.body))
		try.tune(req)
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			return 0, err
		}
		text, _ := io.ReadAll(io.LimitReader(res.Body, 4096))
		res.Body.Close()
		fmt.Fprintf(c.out, "%s: %d %s\n", try.what, res.StatusCode, text)
	}
	return 0, nil
}

func wear(c *call, args []string) (int, error) {
	if len(args) != 2 {
		return 0, errUsage
	}
	from, err := c.world.host(args[0])
	if err != nil {
		return 0, err
	}
	to, err := c.world.host(args[1])
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	for _, file := range []string{"/etc/ssh/ssh_host_ed25519_key", "/etc/ssh/ssh_host_ed25519_key.pub", "/etc/ssh/cardea/ssh_host_ed25519_key-cert.pub"} {
		text, err := from.ReadFile(file)
		if err != nil {
			return 0, err
		}
		if err := to.WriteFile(file, text, 0o600); err != nil {
			return 0, err
		}
	}
	return 0, to.ReloadSSHD(ctx)
}
