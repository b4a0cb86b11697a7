package login

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
)

// insideVariable tells a test that it runs on a session bus of its own.
const insideVariable = "CARDEA_TEST_KEYRING"

// A real Secret Service, on a bus that ends with the test.
func TestTheDesktopsKeyring(t *testing.T) {
	for _, program := range []string{"dbus-run-session", "gnome-keyring-daemon"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("SKIPPED: there is no %s on this machine (packages dbus-daemon, gnome-keyring)", program)
		}
	}
	self, err := os.Executable()
	must(t, err)
	// The keyring's files lie below HOME, and its password is "x".
	cmd := exec.CommandContext(t.Context(), "dbus-run-session", "--", "sh", "-c",
		`printf x | gnome-keyring-daemon --unlock --components=secrets >/dev/null && exec "$0" -test.v -test.run '^TestInsideTheKeyring$'`, self)
	home := t.TempDir()
	cmd.Env = append(os.Environ(), insideVariable+"=1", "HOME="+home, "XDG_DATA_HOME="+home+"/data", "XDG_CONFIG_HOME="+home+"/config",
		"XDG_RUNTIME_DIR="+home, "GNOME_KEYRING_CONTROL=", "DBUS_SESSION_BUS_ADDRESS=")
	cmd.WaitDelay = 10 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestInsideTheKeyring(t *testing.T) {
	if os.Getenv(insideVariable) == "" {
		t.Skip("TestTheDesktopsKeyring runs this on a bus of its own")
	}
	h := &Home{Dir: filepath.Join(t.TempDir(), "cardea"), Warn: func(s string) { t.Errorf("warned: %s", s) }}
	must(t, h.Check())
	first, second := session("secret-1"), session("secret-2")
	for _, s := range []Saved{first, second} {
		must(t, h.Save(s))
		if got, err := h.Load(); err != nil || got.Token != s.Token || !got.Keyring {
			t.Fatalf("loaded %+v, %v; want %s out of the keyring", got, err, s.Token)
		}
	}
	if text, err := os.ReadFile(h.Path()); err != nil || bytes.Contains(text, []byte("secret")) {
		t.Errorf("the file is %s, %v", text, err)
	}
	if token, err := h.ring().get(first.Session.ID); err == nil {
		t.Errorf("the token of the replaced session is still there: %s", token)
	}
	h.TPM = filepath.Join(t.TempDir(), "none")
	d, err := h.Device()
	must(t, err)
	again, err := (&Home{Dir: h.Dir}).Device()
	if err != nil || again.Kind != KeyInKeyring || again.Key.Thumbprint() != d.Key.Thumbprint() {
		t.Errorf("the device key: %+v, %v", again, err)
	}
	if text, err := os.ReadFile(d.Path); err != nil || bytes.Contains(text, []byte("PRIVATE")) {
		t.Errorf("its file is %s, %v", text, err)
	}
	must(t, h.Forget())
	if token, err := h.ring().get(second.Session.ID); err == nil {
		t.Errorf("the token is still there after signing out: %s", token)
	}
}

func TestWithoutABusTheFileIsTaken(t *testing.T) {
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent")
	warned := 0
	h := &Home{Dir: filepath.Join(t.TempDir(), "cardea"), Warn: func(string) { warned++ }}
	must(t, h.Check())
	began := time.Now()
	must(t, h.Save(session("secret")))
	if got, err := h.Load(); err != nil || got.Token != "secret" || got.Keyring || warned != 1 {
		t.Errorf("loaded %+v, %v, warned %d times", got, err, warned)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s to see that there is no keyring", took)
	}
	hasKey(t, h)
	if _, err := (&Account{Home: h}).Client(t.Context()); api.KindOf(err) != "" {
		t.Error(err)
	}
}
