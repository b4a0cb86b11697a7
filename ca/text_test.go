package ca

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cardea-ssh/cardea/internal/ident"
)

func TestASealedTextOpensInItsOwnRowOnly(t *testing.T) {
	ctx, keeper, id := t.Context(), newKeeper(t), ident.New(ident.Provider)
	for _, text := range [][]byte{{}, []byte("client secret"), bytes.Repeat([]byte{'x'}, MaxText)} {
		sealed, err := SealText(ctx, keeper, id, "client secret", text)
		if err != nil {
			t.Fatal(err)
		}
		got, err := OpenText(ctx, keeper, id, "client secret", sealed)
		if err != nil || !bytes.Equal(got, text) {
			t.Fatalf("%d bytes came back as %d, %v", len(text), len(got), err)
		}
		for name, open := range map[string]func() ([]byte, error){
			"another row": func() ([]byte, error) {
				return OpenText(ctx, keeper, ident.New(ident.Provider), "client secret", sealed)
			},
			"another secret": func() ([]byte, error) { return OpenText(ctx, keeper, id, "totp", sealed) },
			"a letter moved": func() ([]byte, error) { return OpenText(ctx, keeper, id+"c", "lient secret", sealed) },
			"another keeper": func() ([]byte, error) { return OpenText(ctx, newKeeper(t), id, "client secret", sealed) },
			"as a key": func() ([]byte, error) {
				_, err := Open(ctx, keeper, Ref{ID: id, Scope: Team, Purpose: Nonce}, sealed)
				return nil, err
			},
		} {
			if _, err := open(); !errors.Is(err, ErrSealed) {
				t.Errorf("%s: got %v, want ErrSealed", name, err)
			}
		}
	}
	if _, err := SealText(ctx, keeper, id, "client secret", make([]byte, MaxText+1)); err == nil {
		t.Error("a byte too many is sealed")
	}
	if _, err := SealText(ctx, keeper, "", "client secret", nil); err == nil {
		t.Error("a secret of nothing is sealed")
	}
}
