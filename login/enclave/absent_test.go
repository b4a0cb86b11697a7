//go:build !(darwin && enclave)

package enclave

import (
	"errors"
	"testing"
)

func TestAProgramThatWasNotBuiltForItSaysSo(t *testing.T) {
	if text, err := Create(); !errors.Is(err, ErrAbsent) || text != nil {
		t.Errorf("made %s, %v", text, err)
	}
	text, err := create(&mac{})
	must(t, err)
	if k, err := Parse(text); !errors.Is(err, ErrAbsent) || k != nil {
		t.Errorf("read %v, %v", k, err)
	}
}
