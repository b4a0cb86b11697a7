package cli

import (
	"slices"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/login"
)

// Whoever else is on the machine reads command lines in /proc. An administrator may have the
// control plane's variables in the same shell, with the password of its database.
func TestAPanesCommandLineHasNoSecretOfTheEnvironment(t *testing.T) {
	for name, value := range map[string]string{
		"CARDEA_DATABASE": "postgres://cardea:hunter2@db/cardea", login.IDTokenVariable: "hunter2", "CARDEA_HTTPS_PROXY": "http://me:hunter2@proxy", "AWS_SECRET_ACCESS_KEY": "hunter2",
		"CARDEA_URL": "https://access.example.com", "CARDEA_NO_KEYRING": "", "XDG_STATE_HOME": "/state;",
	} {
		t.Setenv(name, value)
	}
	got := paneEnvironment()
	if line := strings.Join(got, " "); strings.Contains(line, "hunter2") {
		t.Errorf("everybody reads %q", line)
	}
	for _, want := range []string{"CARDEA_URL=https://access.example.com", "CARDEA_NO_KEYRING=", `XDG_STATE_HOME=/state\;`} {
		if i := slices.Index(got, want); i < 1 || got[i-1] != "-e" {
			t.Errorf("%q is not handed on: %q", want, got)
		}
	}
}
