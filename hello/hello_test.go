package hello_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/hello"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// world is a control plane's ticket key, a client's fresh key and ticket, and
// a pool of gateways.
type world struct {
	t          testing.TB
	control    ed25519.PrivateKey
	keys       hello.TicketKeys
	fresh      ed25519.PrivateKey
	ticket     hello.Ticket
	raw        []byte
	gateways   []*hello.SealingKey
	recipients []hello.Recipient
}

func newWorld(t testing.TB, members int) *world {
	t.Helper()
	w := &world{t: t, control: seeded("control"), fresh: seeded("fresh")}
	var err error
	if w.keys, err = hello.NewTicketKeys(w.control.Public().(ed25519.PublicKey)); err != nil {
		t.Fatal(err)
	}
	w.ticket = ticketFor(w.fresh)
	if w.raw, err = hello.SignTicket(w.control, w.ticket); err != nil {
		t.Fatal(err)
	}
	for i := range members {
		k, err := hello.NewSealingKey()
		if err != nil {
			t.Fatal(err)
		}
		w.gateways = append(w.gateways, k)
		w.recipients = append(w.recipients, hello.Recipient{Gateway: "gw_" + string(rune('a'+i)), PublicKey: k.Public()})
	}
	return w
}

func seeded(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("cardea test key " + name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func ticketFor(fresh ed25519.PrivateKey) hello.Ticket {
	pub, err := ssh.NewPublicKey(fresh.Public())
	if err != nil {
		panic(err)
	}
	return hello.Ticket{
		ID: "tkt_abcdefghij2345672345", KeyFingerprint: hello.Fingerprint(pub), User: "usr_alice", Session: "ses_1",
		Server: "srv_web1", Login: "alice", Address: "192.0.2.7:22", Mode: hello.Relay, Gateways: []string{"gw_a", "gw_b"},
		IssuedAt: noon, Expires: noon.Add(hello.TicketLife),
	}
}

func (w *world) seal() ([]byte, hello.AnswerKeys) {
	w.t.Helper()
	m, keys, err := hello.Seal(w.fresh, w.raw, w.recipients, noon)
	if err != nil {
		w.t.Fatal(err)
	}
	return m, keys
}

func opener(keys ...*hello.SealingKey) *hello.Opener {
	o := new(hello.Opener)
	o.SetKeys(keys...)
	return o
}

func TestAHelloReachesTheGatewayAndItsAnswerTheClient(t *testing.T) {
	w := newWorld(t, 2)
	message, keys := w.seal()
	stream := bytes.NewReader(append(bytes.Clone(message), "SSH-2.0-client\r\n"...))
	got, err := hello.ReadMessage(stream)
	if err != nil {
		t.Fatal(err)
	}
	if stream.Len() != len("SSH-2.0-client\r\n") {
		t.Fatalf("%d bytes are left for ssh", stream.Len())
	}
	text, err := json.Marshal(keys)
	if err != nil {
		t.Fatal(err)
	}
	for i, gateway := range w.gateways {
		opened, err := opener(gateway).Open(got)
		if err != nil {
			t.Fatal(err)
		}
		ticket, err := opened.VerifyTicket(w.keys, noon)
		if err != nil || ticket.Address != "192.0.2.7:22" {
			t.Fatalf("ticket %+v, error %v", ticket, err)
		}
		c, err := hello.VerifyClaim(opened.Claim, w.keys, noon)
		if err != nil || c.Nonce != opened.Nonce || c.KeyFingerprint != w.ticket.KeyFingerprint {
			t.Fatalf("claim %+v, error %v", c, err)
		}
		var helper hello.AnswerKeys // another process reads the answer
		if err := json.Unmarshal(text, &helper); err != nil {
			t.Fatal(err)
		}
		answers := strings.NewReader(string(opened.Accept()) + string(opened.Refuse("denied", "no\x1b[2J grant")) + "SSH")
		yes, err := hello.ReadAnswer(answers, helper)
		if err != nil || !yes.Accepted || yes.Gateway != w.recipients[i].Gateway {
			t.Fatalf("answer %+v, error %v", yes, err)
		}
		no, err := hello.ReadAnswer(answers, helper)
		if err != nil || no.Accepted || no.Kind != "denied" || no.Sentence != "no[2J grant" || answers.Len() != 3 {
			t.Fatalf("answer %+v, error %v, %d bytes left", no, err, answers.Len())
		}
	}
}
