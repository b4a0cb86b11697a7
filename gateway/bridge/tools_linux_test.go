package bridge

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/internal/sshtest"
	"github.com/cardea-ssh/cardea/recording"
	"github.com/cardea-ssh/cardea/sshcert"
)

func TestTheExitCodeArrivesThoughTheOutputEndedBefore(t *testing.T) {
	t.Parallel()
	s := newReal(t, nil)
	if got := s.run("web-1", "exec >&- 2>&-; sleep 0.3; exit 3"); got.Exit != 3 {
		t.Errorf("with no input: %+v", got)
	}
	// The program closes its output and waits for the end of its input, which the user keeps
	// open until the output has ended.
	cmd := sshtest.Command(t, "bash", "-c", `coproc "$@"; cat <&"${COPROC[0]}"; pid=$COPROC_PID; eval "exec ${COPROC[1]}>&-"; wait $pid`, "bash", sshtest.Path(t, "ssh"))
	cmd.Args = append(cmd.Args, append(s.ssh, "web-1", "echo out; exec >&- 2>&-; cat; exit 0")...)
	if got := sshtest.Run(t, cmd); got.Stdout != "out\n" {
		t.Errorf("with an input that waits: %+v", got)
	}
}

// plain is ssh on the server itself, past the gateway, with this certificate of the user's key.
func (s *real) plain(t *testing.T, cert *ssh.Certificate) []string {
	t.Helper()
	key, err := os.ReadFile(s.fresh.Write(t, filepath.Join(t.TempDir(), "id")))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"id": string(key), "id-cert.pub": sshtest.Line(cert) + "\n", "known_hosts": "@cert-authority * " + sshtest.Line(s.hostCA.PublicKey()) + "\n",
	} {
		if err := s.WriteFile("/root/"+name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return append(sshtest.Alone(), "-o", "UserKnownHostsFile=/root/known_hosts", "-o", "HostKeyAlias="+sshcert.HostPrincipal(s.server), "-i", "/root/id", "alice@127.0.0.1")
}

// TestTheCertificateForTheGatewayOpensNoServer to who goes past the gateway.
func TestTheCertificateForTheGatewayOpensNoServer(t *testing.T) {
	t.Parallel()
	s := newReal(t, nil)
	past := func(ca ssh.Signer) sshtest.Result {
		return sshtest.Run(t, s.Command(t.Context(), "ssh", append(s.plain(t, s.user(ca, s.fresh.PublicKey(), nil)), "echo in")...))
	}
	if got := past(s.gatewayCA); got.Exit != 255 || !strings.Contains(got.Stderr, "Permission denied (publickey") {
		t.Errorf("past the gateway: %+v", got)
	}
	if got := past(s.userCA); got.Stdout != "in\n" {
		t.Errorf("with a certificate that the server trusts: %+v", got)
	}
}

// TestWhatRunsInTheBackgroundEndsAsWithPlainSSH: ssh waits for whoever holds the output, and
// for nobody else.
func TestWhatRunsInTheBackgroundEndsAsWithPlainSSH(t *testing.T) {
	t.Parallel()
	s := newReal(t, nil)
	direct := s.plain(t, s.user(s.userCA, s.fresh.PublicKey(), nil))
	for _, tc := range []struct{ options, command, says string }{
		{"-n", "(sleep 1.5; echo late) & echo hi; exit 3", "hi\nlate\n"},
		{"-n", "(for i in 1 2 3; do sleep 0.4; echo $i; done) & exit 3", "1\n2\n3\n"},
		{"-n", "sleep 60 >/dev/null 2>&1 & echo hi; exit 3", "hi\n"},
		{"-tt", "(sleep 60; echo late) & echo hi; exit 3", "hi\r\n"},
	} {
		t.Run(tc.options+" "+tc.command, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			plain := sshtest.Run(t, s.Command(t.Context(), "ssh", append(append([]string{tc.options}, direct...), tc.command)...))
			got := s.run(tc.options, "web-1", tc.command)
			if got.Stdout != tc.says || got.Stdout != plain.Stdout || got.Exit != 3 || plain.Exit != 3 {
				t.Errorf("got %+v, with plain ssh %+v", got, plain)
			}
			if took := time.Since(began); took > 40*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func TestKeysAreExchangedAnewUnderLoad(t *testing.T) {
	t.Parallel()
	// Both ends: the user's ssh and the server's sshd.
	s := newReal(t, nil, "RekeyLimit 1M")
	random := make([]byte, 12<<20)
	rand.Read(random)
	cmd := sshtest.Command(t, "ssh", append([]string{"-o", "RekeyLimit=1M"}, append(s.ssh, "web-1", "cat")...)...)
	cmd.Stdin = bytes.NewReader(random)
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), random) {
		t.Errorf("%d of %d bytes came back, or others", out.Len(), len(random))
	}
	if kept := s.end().rec.bytes(recording.Output); sha256.Sum256([]byte(kept)) != sha256.Sum256(random) {
		t.Error("the recording is not what the user saw")
	}
}

func TestSilentConnectionsAreKeptAliveFromBothEnds(t *testing.T) {
	t.Parallel()
	s := newReal(t, nil, "ClientAliveInterval 1", "ClientAliveCountMax 1")
	got := s.run("-v", "-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=1", "web-1", "sleep 3.5; echo alive")
	if got.Stdout != "alive\n" || got.Exit != 0 {
		t.Errorf("%+v", got)
	}
	// ssh asks for no more sessions only of what it takes for its like.
	if !strings.Contains(got.Stderr, "no-more-sessions@openssh.com") {
		t.Errorf("ssh takes the gateway for a stranger:\n%s", got.Stderr)
	}
	if strings.Contains(got.Stderr, "hostkeys-00") || strings.Contains(got.Stderr, "\ncardea: ") {
		t.Errorf("ssh was told what is not for it:\n%s", got.Stderr)
	}
	if r := all[recording.Refused](t, s.end().rec, recording.Refusal); len(r) > 0 {
		t.Errorf("recorded %+v", r)
	}
}

func TestNothingButAKeyIsOfferedToWhoComesWithout(t *testing.T) {
	t.Parallel()
	s := newFake(t, nil, nil)
	others := "none,password,keyboard-interactive,gssapi-with-mic,gssapi-keyex,hostbased"
	got := s.run("-v", "-o", "PreferredAuthentications="+others, "-o", "NumberOfPasswordPrompts=1", "web-1", "true")
	if got.Exit != 255 || !strings.Contains(got.Stderr, "Permission denied (publickey).") {
		t.Errorf("%+v", got)
	}
	for options, why := range map[string]string{
		"Ciphers=chacha20-poly1305@openssh.com": "no matching cipher",
		"Ciphers=aes128-cbc":                    "no matching cipher",
		// Counter mode is for programs that know nothing better, and not with every code.
		"Ciphers=aes128-ctr MACs=hmac-sha2-256-etm@openssh.com": "no matching MAC",
		"Ciphers=aes128-ctr MACs=hmac-sha1":                     "no matching MAC",
	} {
		var args []string
		for _, o := range strings.Fields(options) {
			args = append(args, "-o", o)
		}
		if got := s.run(append(args, "web-1", "true")...); got.Exit != 255 || !strings.Contains(got.Stderr, why) {
			t.Errorf("%s: %+v", options, got)
		}
	}
}

func TestRsyncAndGitWork(t *testing.T) {
	t.Parallel()
	s := newReal(t, nil)
	dir := t.TempDir()
	for name, text := range map[string]string{"a/one": "1\n", "a/b/two": strings.Repeat("2", 1<<20)} {
		os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	transport := sshtest.Path(t, "ssh") + " " + strings.Join(s.ssh, " ")
	for _, args := range [][]string{
		{"rsync", "-a", "-e", transport, filepath.Join(dir, "a") + "/", "web-1:/home/alice/a/"},
		{"rsync", "-a", "-e", transport, "web-1:/home/alice/a/", filepath.Join(dir, "back") + "/"},
		{"git", "init", "-q", filepath.Join(dir, "repo")},
		{"git", "-C", filepath.Join(dir, "repo"), "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "first"},
		{"ssh", "git init -q --bare /home/alice/repo.git"},
		{"git", "-C", filepath.Join(dir, "repo"), "push", "-q", "web-1:/home/alice/repo.git", "HEAD:refs/heads/main"},
		{"git", "clone", "-q", "-b", "main", "web-1:/home/alice/repo.git", filepath.Join(dir, "clone")},
	} {
		if args[0] == "ssh" {
			if got := s.run("web-1", args[1]); got.Exit != 0 {
				t.Fatalf("%v: %+v", args, got)
			}
			continue
		}
		cmd := sshtest.Command(t, args[0], args[1:]...)
		cmd.Env = append(os.Environ(), "GIT_SSH_COMMAND="+transport, "GIT_CONFIG_GLOBAL=/dev/null", "HOME="+dir)
		if got := sshtest.Run(t, cmd); got.Exit != 0 {
			t.Fatalf("%v: %+v", args, got)
		}
	}
	back, err := os.ReadFile(filepath.Join(dir, "back/b/two"))
	if err != nil || len(back) != 1<<20 {
		t.Errorf("rsync brought back %d bytes: %v", len(back), err)
	}
	if _, err := os.Stat(filepath.Join(dir, "clone/.git/HEAD")); err != nil {
		t.Error(err)
	}
}
