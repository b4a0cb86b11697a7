package gateway

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// newEnrolment is a state folder with a token file in it.
func newEnrolment(t *testing.T, p *plane, secret string) Enrolment {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if secret != "" {
		putToken(t, dir, secret)
	}
	return Enrolment{StateDir: dir, URL: p.URL, Log: slog.New(slog.DiscardHandler)}
}

func putToken(t *testing.T, dir, secret string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, TokenFile), []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestATokenFileEnrolsOnce(t *testing.T) {
	p := newPlane(t)
	e := newEnrolment(t, p, "cardea_enr_good\n")
	cred, _, err := e.Load(t.Context())
	if err != nil || cred.Gateway != "gw_a" || cred.Name != "gw-1" {
		t.Fatalf("got %+v, %v", cred, err)
	}
	if _, err := os.Stat(filepath.Join(e.StateDir, TokenFile)); !os.IsNotExist(err) {
		t.Error("the used token is still there")
	}
	for _, name := range []string{identityFile, credentialFile} {
		if info, err := os.Stat(filepath.Join(e.StateDir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	e.URL = "" // the credential knows it
	again, client, err := e.Load(t.Context())
	if err != nil || again != cred || client.URL != p.URL || client.Token != cred.Token {
		t.Errorf("the second start: %+v, %v", again, err)
	}
	if n := len(p.Calls("POST", "/v1/gateways/enrol")); n != 1 {
		t.Errorf("enrolled %d times", n)
	}
	// A crash between writing the credential and removing the token.
	e.URL = p.URL
	putToken(t, e.StateDir, "cardea_enr_used")
	if kept, _, err := e.Load(t.Context()); err != nil || kept != cred {
		t.Errorf("with a used token: %+v, %v", kept, err)
	}
}

func TestEnrolmentSaysWhatIsWrong(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spoil func(*Enrolment)
		says  string
	}{
		{"no token", func(e *Enrolment) { os.Remove(filepath.Join(e.StateDir, TokenFile)) }, "cardea admin"},
		{"a token that is over", func(e *Enrolment) { writeToken(e, "cardea_enr_old", 0o600) }, "used or over"},
		{"no token at all in the file", func(e *Enrolment) { writeToken(e, "hello", 0o600) }, "one enrolment token"},
		{"two tokens", func(e *Enrolment) { writeToken(e, "cardea_enr_good\ncardea_enr_good", 0o600) }, "one enrolment token"},
		{"a token that others may read", func(e *Enrolment) { writeToken(e, "cardea_enr_good", 0o644) }, "chmod 600"},
		{"a huge file", func(e *Enrolment) { writeToken(e, strings.Repeat("x", maxStateFile+1), 0o600) }, "larger than"},
		{"a link", func(e *Enrolment) {
			os.Rename(filepath.Join(e.StateDir, TokenFile), filepath.Join(e.StateDir, "x"))
			os.Symlink("x", filepath.Join(e.StateDir, TokenFile))
		}, "symbolic link"},
		{"no URL", func(e *Enrolment) { e.URL = "" }, "https://"},
		{"a URL without TLS", func(e *Enrolment) { e.URL = "http://access.example.com" }, "no TLS"},
		{"a control plane that is away", func(e *Enrolment) { e.URL = "http://127.0.0.1:1" }, "127.0.0.1:1"},
		{"a damaged credential", func(e *Enrolment) {
			os.WriteFile(filepath.Join(e.StateDir, credentialFile), []byte("{"), 0o600)
		}, "damaged"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := newEnrolment(t, newPlane(t), "cardea_enr_good")
			tc.spoil(&e)
			_, _, err := e.Load(t.Context())
			if err == nil || (!strings.Contains(err.Error(), tc.says) && !strings.Contains(err.Error(), "too many levels")) {
				t.Errorf("%v does not say %q", err, tc.says)
			}
			if strings.Contains(err.Error(), "cardea_enr_") {
				t.Errorf("the error tells the token: %v", err)
			}
		})
	}
}

func writeToken(e *Enrolment, text string, mode os.FileMode) {
	path := filepath.Join(e.StateDir, TokenFile)
	os.WriteFile(path, []byte(text), mode)
	os.Chmod(path, mode)
}
