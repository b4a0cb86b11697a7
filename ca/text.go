package ca

import (
	"context"
	"fmt"

	"gocloud.dev/secrets"
)

const (
	// textDomain is for SealText what sealDomain is for keys.
	textDomain = "cardea sealed text v1\x00"
	// MaxText bounds what SealText takes, in bytes: a client's secret has some dozen.
	MaxText = 4096
)

// SealText encrypts a secret that others made, such as that of a client at an identity
// provider, for the row with this id: in another row it does not open. The form is that
// of Seal. What says which of the row's secrets it is; it never changes.
func SealText(ctx context.Context, keeper *secrets.Keeper, id, what string, plain []byte) ([]byte, error) {
	if id == "" || what == "" {
		return nil, fmt.Errorf("the %q of %q has no place", what, id)
	}
	if len(plain) > MaxText {
		return nil, fmt.Errorf("the %s has %d bytes, more than %d", what, len(plain), MaxText)
	}
	return seal(ctx, keeper, what+" of "+id, associated(textDomain, id, what), plain)
}

// OpenText decrypts what SealText made for the same row. Errors are those of Open.
func OpenText(ctx context.Context, keeper *secrets.Keeper, id, what string, sealed []byte) ([]byte, error) {
	return open(ctx, keeper, what+" of "+id, associated(textDomain, id, what), sealed)
}
