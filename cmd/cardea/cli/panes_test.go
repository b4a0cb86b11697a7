package cli

import (
	"slices"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/api"
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

// "exec --tmux -l env=prod" chose one of two that are called web-1: its pane may go to no other, nor
// ask which one is meant.
func TestAPaneGoesToTheServerThatWasChosen(t *testing.T) {
	chosen := []api.CatalogEntry{{Name: "web-1", ProjectName: "prod"}}
	got := panesOn(chosen, []string{"--url=https://x"}, execOptions{login: "alice", command: []string{"reboot", ";"}})
	want := []string{"--url=https://x", "ssh", "--login=alice", "-t", "prod/web-1", "--", "reboot", ";"}
	if len(got) != 1 || !slices.Equal(got[0].args, want) || got[0].name != "web-1" || !got[0].keep {
		t.Errorf("got %+v, want %q", got, want)
	}
}
