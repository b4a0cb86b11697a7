package hello

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
)

// An answer is AnswerSize bytes:
//
//	magic    8 bytes
//	key id   8 bytes: which recipient answers
//	nonce    12 bytes
//	sealed   AES-128-GCM of the text under the exported secret; its additional
//	         data is magic, key id and the hash of the message it answers
//
// The text is one byte (1 accepted, 0 refused), kind (1 byte length), sentence
// (2 bytes length), and zeros. The nonce is drawn anew, because a message that
// is replayed to a gateway is answered again under the same secret.
const (
	magicAnswer = "cardea\x00\x81"
	nonceSize   = 12
	answerHead  = len(magicAnswer) + len(KeyID{})
	textSize    = AnswerSize - answerHead - nonceSize - tagSize
)

// AnswerKeys is what the reader of an answer needs. It can be written as JSON,
// so that the local agent can seal and another process read the answer. It is
// secret, and of no use after the answer.
type AnswerKeys struct {
	Message []byte      `json:"message"` // SHA-256 of the message
	Keys    []AnswerKey `json:"keys"`    // one for each recipient
}

// AnswerKey is the secret shared with one recipient.
type AnswerKey struct {
	Gateway string `json:"gateway"`
	KeyID   []byte `json:"key_id"`
	Secret  []byte `json:"secret"`
}

// Answer is what the gateway said.
type Answer struct {
	Gateway  string // the id of the gateway that answered, authenticated
	Accepted bool
	Kind     string // of a refusal: a short word for programs, e.g. "denied"
	Sentence string // of a refusal: for the person, without control characters
}

// Accept returns the answer that lets SSH begin.
func (o *Opened) Accept() []byte { return o.sealText(Answer{Accepted: true}.text()) }

// Refuse returns the answer that says why not. Kind and sentence are cut to
// their limits, and control characters are dropped.
func (o *Opened) Refuse(kind, sentence string) []byte {
	return o.sealText(Answer{Kind: clean(kind, MaxKind), Sentence: clean(sentence, MaxSentence)}.text())
}

func (o *Opened) sealText(text []byte) []byte {
	frame := append([]byte(magicAnswer), o.Key[:]...)
	nonce := make([]byte, nonceSize)
	rand.Read(nonce)
	aad := append(frame[:answerHead:answerHead], o.message[:]...)
	return gcm(o.answer).Seal(append(frame, nonce...), nonce, text, aad)
}

func (a Answer) text() []byte {
	b := cryptobyte.NewFixedBuilder(make([]byte, 0, textSize))
	if a.Accepted {
		b.AddUint8(1)
	} else {
		b.AddUint8(0)
	}
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(a.Kind)) })
	addString(b, a.Sentence)
	return b.BytesOrPanic()[:textSize]
}

// ReadAnswer reads exactly one answer, and not a byte more: what follows
// belongs to SSH. It returns ErrImpostor if what came was not made by one of
// the gateways the hello was sealed for, and an error of the reader if the
// peer closed or said nothing. In both cases: try the next gateway. Set a
// deadline first.
func ReadAnswer(r io.Reader, keys AnswerKeys) (Answer, error) {
	var frame [AnswerSize]byte
	// An SSH server or any other that speaks first is found out by its first
	// bytes, without waiting for the rest.
	if _, err := io.ReadFull(r, frame[:len(magicAnswer)]); err != nil {
		return Answer{}, closed(err)
	}
	if string(frame[:len(magicAnswer)]) != magicAnswer {
		return Answer{}, ErrImpostor
	}
	if _, err := io.ReadFull(r, frame[len(magicAnswer):]); err != nil {
		return Answer{}, closed(err)
	}
	return openAnswer(frame[:], keys)
}

func closed(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the gateway closed the connection without an answer: %w", io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("read answer: %w", err)
}

func openAnswer(frame []byte, keys AnswerKeys) (Answer, error) {
	id, nonce := KeyID(frame[len(magicAnswer):answerHead]), frame[answerHead:answerHead+nonceSize]
	aad := append(frame[:answerHead:answerHead], keys.Message...)
	for _, k := range keys.Keys {
		if len(k.KeyID) != len(id) || KeyID(k.KeyID) != id || len(k.Secret) != contentSize {
			continue
		}
		text, err := gcm(k.Secret).Open(nil, nonce, frame[answerHead+nonceSize:], aad)
		if err != nil {
			return Answer{}, ErrImpostor
		}
		a, err := parseText(text)
		if err != nil {
			return Answer{}, err
		}
		a.Gateway = k.Gateway
		return a, nil
	}
	return Answer{}, ErrImpostor
}

// parseText is strict although a gateway wrote it: what it says goes to a
// terminal.
func parseText(text []byte) (Answer, error) {
	var (
		accepted       uint8
		kind, sentence cryptobyte.String
	)
	s := cryptobyte.String(text)
	if !s.ReadUint8(&accepted) || accepted > 1 || !s.ReadUint8LengthPrefixed(&kind) || !s.ReadUint16LengthPrefixed(&sentence) {
		return Answer{}, invalid("the gateway's answer is malformed")
	}
	for _, b := range s {
		if b != 0 {
			return Answer{}, invalid("the gateway's answer has bytes left over")
		}
	}
	a := Answer{Accepted: accepted == 1, Kind: string(kind), Sentence: string(sentence)}
	if a.Kind != clean(a.Kind, MaxKind) || a.Sentence != clean(a.Sentence, MaxSentence) || (a.Accepted && len(a.Kind)+len(a.Sentence) > 0) {
		return Answer{}, invalid("the gateway's answer is malformed")
	}
	return a, nil
}

// clean cuts s to limit bytes at a rune and keeps printable runes only.
func clean(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
	for len(s) > limit {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}

func messageHash(message []byte) []byte {
	sum := sha256.Sum256(message)
	return sum[:]
}
