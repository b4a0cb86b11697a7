package hello_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/hello"
)

func TestAnImpostorIsToldFromARefusal(t *testing.T) {
	w := newWorld(t, 2)
	message, keys := w.seal()
	opened := mustOpen(t, w.gateways[0], message)
	otherMessage, _ := w.seal()
	other := mustOpen(t, w.gateways[0], otherMessage)
	stranger := newWorld(t, 2) // another pool's gateways
	strangersMessage, _ := stranger.seal()
	foreign := mustOpen(t, stranger.gateways[0], strangersMessage)
	accept := opened.Accept()
	asOther := bytes.Clone(accept) // the answer of gw_a under the name of gw_b
	idB := w.gateways[1].ID()
	copy(asOther[8:], idB[:])
	for _, tc := range []struct {
		name  string
		input []byte
		want  error
		left  int
	}{
		{"the gateway accepts", accept, nil, 0},
		{"what follows the answer is left to ssh", append(bytes.Clone(accept), "SSH-2.0-x\r\n"...), nil, 11},
		{"a refusal is no error", opened.Refuse("denied", "no"), nil, 0},
		{"an SSH server answers", []byte("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n"), hello.ErrImpostor, 32},
		{"a web server answers", []byte("HTTP/1.1 400 Bad Request\r\n\r\n"), hello.ErrImpostor, 20},
		{"an answer recorded from another session", other.Accept(), hello.ErrImpostor, 0},
		{"a gateway of another pool", foreign.Accept(), hello.ErrImpostor, 0},
		{"one member's answer under another's name", asOther, hello.ErrImpostor, 0},
		{"zeros behind the right start", append(bytes.Clone(accept[:16]), make([]byte, hello.AnswerSize-16)...), hello.ErrImpostor, 0},
		{"our own message comes back", message, hello.ErrImpostor, len(message) - 8},
		{"it closes without a word", nil, io.ErrUnexpectedEOF, 0},
		{"it closes in the middle", accept[:hello.AnswerSize-1], io.ErrUnexpectedEOF, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := bytes.NewReader(tc.input)
			got, err := hello.ReadAnswer(r, keys)
			if !errors.Is(err, tc.want) || (err == nil) != (tc.want == nil) {
				t.Errorf("got %+v, %v; want %v", got, err, tc.want)
			}
			if err != nil && (got.Accepted || got.Gateway != "") {
				t.Errorf("an error comes with an answer: %+v", got)
			}
			if r.Len() != tc.left {
				t.Errorf("%d bytes are left, want %d", r.Len(), tc.left)
			}
		})
	}
	for i := range hello.AnswerSize * 8 {
		flipped := bytes.Clone(accept)
		flipped[i/8] ^= 1 << (i % 8)
		if _, err := hello.ReadAnswer(bytes.NewReader(flipped), keys); !errors.Is(err, hello.ErrImpostor) {
			t.Fatalf("bit %d flipped: %v", i, err)
		}
	}
	if _, err := hello.ReadAnswer(bytes.NewReader(accept), hello.AnswerKeys{}); !errors.Is(err, hello.ErrImpostor) {
		t.Errorf("without keys: %v", err)
	}
}

func mustOpen(t *testing.T, key *hello.SealingKey, message []byte) *hello.Opened {
	t.Helper()
	opened, err := opener(key).Open(message)
	if err != nil {
		t.Fatal(err)
	}
	return opened
}

// TestTwoAnswersToOneMessageUseTwoNonces: a replayed message is answered again
// under the same secret, and GCM with one nonce twice gives its key away.
func TestTwoAnswersToOneMessageUseTwoNonces(t *testing.T) {
	w := newWorld(t, 1)
	message, _ := w.seal()
	opened := mustOpen(t, w.gateways[0], message)
	if bytes.Equal(opened.Accept()[16:28], opened.Refuse("replay", "used")[16:28]) {
		t.Error("one nonce twice")
	}
}

func TestRefusalsAreCutAndCleaned(t *testing.T) {
	w := newWorld(t, 1)
	message, keys := w.seal()
	opened := mustOpen(t, w.gateways[0], message)
	for _, tc := range []struct{ name, kind, sentence, wantKind, wantSentence string }{
		{"at the limits", strings.Repeat("k", hello.MaxKind), strings.Repeat("s", hello.MaxSentence), strings.Repeat("k", hello.MaxKind), strings.Repeat("s", hello.MaxSentence)},
		{"one over the limits", strings.Repeat("k", hello.MaxKind+1), strings.Repeat("s", hello.MaxSentence+1), strings.Repeat("k", hello.MaxKind), strings.Repeat("s", hello.MaxSentence)},
		{"never in the middle of a rune", "", strings.Repeat("s", hello.MaxSentence-1) + "é", "", strings.Repeat("s", hello.MaxSentence-1)},
		{"no escape sequences", "a\nb", "\x1b]0;title\x07 no\u202e \u0085é\xff", "ab", "]0;title no é"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, err := hello.ReadAnswer(bytes.NewReader(opened.Refuse(tc.kind, tc.sentence)), keys)
			if err != nil || a.Kind != tc.wantKind || a.Sentence != tc.wantSentence || a.Accepted {
				t.Errorf("got %+v, %v", a, err)
			}
		})
	}
}

// TestAFaultyGatewayCannotWriteToTheTerminal: the reader trusts no text either.
func TestAFaultyGatewayCannotWriteToTheTerminal(t *testing.T) {
	w := newWorld(t, 1)
	message, keys := w.seal()
	opened := mustOpen(t, w.gateways[0], message)
	pad := func(s string) []byte { return append([]byte(s), make([]byte, hello.TextSize-len(s))...) }
	for name, text := range map[string][]byte{
		"an escape sequence":         pad("\x00\x00\x00\x04\x1b[2J"),
		"another flag":               pad("\x02"),
		"a sentence past the end":    pad("\x00\x00\xff\xff"),
		"bytes behind the sentence":  pad("\x00\x00\x00\x00x"),
		"accepted, with a sentence":  pad("\x01\x00\x00\x01x"),
		"an over-long kind":          pad("\x00\x21" + strings.Repeat("k", 33) + "\x00\x00"),
		"a sentence that is no text": pad("\x00\x00\x00\x01\xff"),
	} {
		if a, err := hello.ReadAnswer(bytes.NewReader(opened.SealAnswer(text)), keys); !errors.Is(err, hello.ErrInvalid) || a.Accepted || a.Sentence != "" {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
}

// FuzzAnswer lets the fuzzer write both the frame and, sealed, the text.
func FuzzAnswer(f *testing.F) {
	w := newWorld(f, 1)
	message, keys := w.seal()
	opened, err := opener(w.gateways[0]).Open(message)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(opened.Accept())
	f.Add(opened.Refuse("denied", "no grant"))
	f.Add([]byte("\x00\x01k\x00\x01s"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := hello.ReadAnswer(bytes.NewReader(b), keys); err != nil && !errors.Is(err, hello.ErrImpostor) &&
			!errors.Is(err, hello.ErrInvalid) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("error of another kind: %v", err)
		}
		text := make([]byte, hello.TextSize)
		copy(text, b)
		a, err := hello.ReadAnswer(bytes.NewReader(opened.SealAnswer(text)), keys)
		if err != nil {
			return
		}
		again := opened.Accept()
		if !a.Accepted {
			again = opened.Refuse(a.Kind, a.Sentence)
		}
		if b, err := hello.ReadAnswer(bytes.NewReader(again), keys); err != nil || a != b {
			t.Errorf("print(parse(x)) is not stable: %+v, %+v, %v", a, b, err)
		}
	})
}
