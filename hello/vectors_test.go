package hello_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/hello"
)

var update = flag.Bool("update", false, "write testdata/vectors.json anew")

const vectorsFile = "testdata/vectors.json"

// vectors are what another implementation needs to test itself. HPKE draws its
// ephemeral key at random, so the message is one that was made once: it must
// open, and the deterministic parts must come out the same.
type vectors struct {
	TicketSeed   hexBytes   `json:"ticket_seed"`   // Ed25519 seed of the control plane
	FreshSeed    hexBytes   `json:"fresh_seed"`    // Ed25519 seed of the client's key
	SealingKeys  []hexBytes `json:"sealing_keys"`  // X25519 private keys of gw_a and gw_b
	SealingIDs   []hexBytes `json:"sealing_ids"`   // their key ids
	Now          int64      `json:"now"`           // seconds, when all was made
	Ticket       hexBytes   `json:"ticket"`        // signed
	Fingerprint  hexBytes   `json:"fingerprint"`   // of the fresh key
	Claim        hexBytes   `json:"claim"`         // the plaintext of the message
	Message      hexBytes   `json:"message"`       // sealed for both gateways
	MessageHash  hexBytes   `json:"message_hash"`  // bound into the answers
	AnswerSecret []hexBytes `json:"answer_secret"` // exported, for each gateway
	Accepted     hexBytes   `json:"accepted"`      // answer of gw_b
	Refused      hexBytes   `json:"refused"`       // answer of gw_a
	Kind         string     `json:"refused_kind"`
	Sentence     string     `json:"refused_sentence"`
}

type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

func (h *hexBytes) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

func TestVectors(t *testing.T) {
	if *update {
		writeVectors(t)
	}
	text, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	now := time.Unix(v.Now, 0)
	control, fresh := ed25519.NewKeyFromSeed(v.TicketSeed), ed25519.NewKeyFromSeed(v.FreshSeed)
	ticket := ticketFor(fresh)
	if !bytes.Equal(ticket.KeyFingerprint[:], v.Fingerprint) {
		t.Error("the fingerprint of the fresh key has changed")
	}
	if raw, err := hello.SignTicket(control, ticket); err != nil || !bytes.Equal(raw, v.Ticket) {
		t.Errorf("the ticket has changed (%v)", err)
	}
	keys, err := hello.NewTicketKeys(control.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	answers := hello.AnswerKeys{Message: v.MessageHash}
	for i, private := range v.SealingKeys {
		key, err := hello.SealingKeyOf(private)
		if err != nil {
			t.Fatal(err)
		}
		if id := key.ID(); !bytes.Equal(id[:], v.SealingIDs[i]) {
			t.Error("the key id has changed")
		}
		opened := mustOpen(t, key, v.Message)
		if !bytes.Equal(opened.Claim, v.Claim) {
			t.Error("the message opens to another claim")
		}
		if _, err := opened.VerifyTicket(keys, now); err != nil {
			t.Error(err)
		}
		answers.Keys = append(answers.Keys, hello.AnswerKey{Gateway: "gw_" + string(rune('a'+i)), KeyID: v.SealingIDs[i], Secret: v.AnswerSecret[i]})
		if a, err := hello.ReadAnswer(bytes.NewReader(opened.Accept()), answers); err != nil || !a.Accepted {
			t.Errorf("the exported secret has changed: %+v, %v", a, err)
		}
	}
	if _, err := hello.VerifyClaim(v.Claim, keys, now); err != nil {
		t.Errorf("the claim: %v", err)
	}
	if a, err := hello.ReadAnswer(bytes.NewReader(v.Accepted), answers); err != nil || !a.Accepted || a.Gateway != "gw_b" {
		t.Errorf("accepted: %+v, %v", a, err)
	}
	if a, err := hello.ReadAnswer(bytes.NewReader(v.Refused), answers); err != nil || a.Accepted || a.Gateway != "gw_a" || a.Kind != v.Kind || a.Sentence != v.Sentence {
		t.Errorf("refused: %+v, %v", a, err)
	}
}

func writeVectors(t *testing.T) {
	seed := func(name string) []byte { s := sha256.Sum256([]byte("cardea test vector " + name)); return s[:] }
	v := vectors{
		TicketSeed: seed("ticket"), FreshSeed: seed("fresh"), SealingKeys: []hexBytes{seed("gw_a"), seed("gw_b")},
		Now: noon.Unix(), Kind: "denied", Sentence: "the server is disabled",
	}
	fresh := ed25519.NewKeyFromSeed(v.FreshSeed)
	pub, err := ssh.NewPublicKey(fresh.Public())
	if err != nil {
		t.Fatal(err)
	}
	print := hello.Fingerprint(pub)
	v.Fingerprint = print[:]
	if v.Ticket, err = hello.SignTicket(ed25519.NewKeyFromSeed(v.TicketSeed), ticketFor(fresh)); err != nil {
		t.Fatal(err)
	}
	var gateways []*hello.SealingKey
	var recipients []hello.Recipient
	for i, private := range v.SealingKeys {
		key, err := hello.SealingKeyOf(private)
		if err != nil {
			t.Fatal(err)
		}
		id := key.ID()
		v.SealingIDs = append(v.SealingIDs, id[:])
		gateways = append(gateways, key)
		recipients = append(recipients, hello.Recipient{Gateway: "gw_" + string(rune('a'+i)), PublicKey: key.Public()})
	}
	message, answers, err := hello.Seal(fresh, v.Ticket, recipients, noon)
	if err != nil {
		t.Fatal(err)
	}
	v.Message, v.MessageHash = message, answers.Message
	for _, k := range answers.Keys {
		v.AnswerSecret = append(v.AnswerSecret, k.Secret)
	}
	v.Claim = mustOpen(t, gateways[0], message).Claim
	v.Accepted = mustOpen(t, gateways[1], message).Accept()
	v.Refused = mustOpen(t, gateways[0], message).Refuse(v.Kind, v.Sentence)
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(vectorsFile, append(text, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}
