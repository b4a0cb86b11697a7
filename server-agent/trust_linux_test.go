package serveragent

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/sshcert"
	"golang.org/x/crypto/ssh"
)

const revokedFile = "/etc/ssh/cardea/revoked"

// staffed is a host in force with alice, and a local account with a key of its own.
func staffed(t *testing.T) (r *rig, alice, local person) {
	r = newRig(t)
	local = r.person("keeper", false)
	r.sshd()
	r.run("useradd", "-m", "-s", "/bin/sh", "-p", "*", "keeper")
	r.run("install", "-d", "-o", "keeper", "/home/keeper/.ssh")
	r.write("/home/keeper/.ssh/authorized_keys", local.public(r), 0o644)
	v := r.p.set(func(d *api.DesiredState) { d.Accounts = []api.Account{account("alice", 70001)} })
	r.start()
	r.p.confirmed(v)
	return r, r.person("alice", true), local
}

func account(login string, uid int) api.Account {
	return api.Account{User: "usr_" + login, Login: login, UID: uid, GID: uid, State: "active"}
}

// certificate is what a person shows.
func (who person) certificate(r *rig) *ssh.Certificate {
	r.Helper()
	raw, err := os.ReadFile(filepath.Join(who.dir, "key-cert.pub"))
	if err != nil {
		r.Fatal(err)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(raw)
	if err != nil {
		r.Fatal(err)
	}
	return key.(*ssh.Certificate)
}

// mayEnterPlain logs in with a key that the host's administrator knows.
func (r *rig) mayEnterPlain(who person) {
	r.Helper()
	if out, err := r.ssh(who, true, "echo", "IN").CombinedOutput(); err != nil || !strings.Contains(string(out), "IN") {
		r.Fatalf("%s cannot enter: %v: %s", who.login, err, out)
	}
}

func TestARevokedCertificateIsRefused(t *testing.T) {
	t.Parallel()
	r, alice, local := staffed(t)
	r.mayEnter(alice, "true")
	cert := alice.certificate(r)
	second := r.person("alice", true)

	r.p.confirmed(r.p.set(func(d *api.DesiredState) { d.Revoked.Serials = []string{strconv.FormatUint(cert.Serial, 10)} }))
	r.mayNotEnter(alice)
	r.mayEnter(second, "true")
	r.p.confirmed(r.p.set(func(d *api.DesiredState) {
		d.Revoked = api.Revocations{Keys: []string{ssh.FingerprintSHA256(second.certificate(r).Key)}}
	}))
	r.mayEnter(alice, "true")
	r.mayNotEnter(second)
	r.mayEnterPlain(local)

	// What makes no sense, or would lock everybody out, leaves the list as it was.
	before := r.run("sha256sum", revokedFile)
	for name, revoked := range map[string]api.Revocations{
		"no fingerprint": {Keys: []string{"# SHA256:x"}}, "no serial": {Serials: []string{"-1"}},
		"the CA in use": {Keys: []string{ssh.FingerprintSHA256(r.p.userCA.PublicKey())}},
	} {
		v := r.p.set(func(d *api.DesiredState) { d.Revoked = revoked })
		r.p.problem("the list of revoked keys could not be renewed")
		r.p.mu.Lock()
		if last := r.p.reports[len(r.p.reports)-1]; last.Confirmed == v {
			t.Errorf("%s: the state was confirmed", name)
		}
		r.p.mu.Unlock()
		r.p.confirmed(r.p.set(func(d *api.DesiredState) {
			d.Revoked = api.Revocations{Keys: []string{ssh.FingerprintSHA256(second.certificate(r).Key)}}
		}))
	}
	if after := r.run("sha256sum", revokedFile); after != before {
		t.Error("the list was changed")
	}
	r.mayEnter(alice, "true")

	// A list that somebody spoils keeps managed accounts out and nobody else, and is
	// mended at the next look.
	for _, damage := range []string{"truncate -s 60 ", "rm ", "truncate -s 0 ", "f() { rm $1; mkdir $1; }; f "} {
		r.sh(damage + revokedFile)
		r.mayEnterPlain(local)
		r.p.confirmed(r.p.set(func(*api.DesiredState) {}))
		r.mayEnter(alice, "true")
		r.mayNotEnter(second)
	}
	r.stop()
}

// The user CA is rotated: next to it a new one, then the old one is gone. An
// open session goes on, and nothing is said of it but its end.
func TestTheHostFollowsARotationOfTheUserCA(t *testing.T) {
	t.Parallel()
	r, alice, _ := staffed(t)
	old, next := r.p.userCA, newSigner(t)
	r.p.confirmed(r.p.set(func(d *api.DesiredState) {
		d.UserCAs = []string{sshcert.Line(old.PublicKey()), sshcert.Line(next.PublicKey())}
	}))
	r.mayEnter(alice, "true")
	session := r.ssh(alice, false, "echo READY; sleep 600")
	out, err := session.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Start(); err != nil {
		t.Fatal(err)
	}
	defer session.Process.Kill()
	if n, err := out.Read(make([]byte, 5)); n == 0 {
		t.Fatal(err)
	}
	r.p.mu.Lock()
	r.p.userCA = next
	r.p.mu.Unlock()
	later := r.person("alice", true)
	r.mayEnter(later, "true")
	r.mayEnter(alice, "true")
	r.p.confirmed(r.p.set(func(d *api.DesiredState) {
		d.UserCAs = []string{sshcert.Line(next.PublicKey())}
		d.Revoked.Keys = []string{ssh.FingerprintSHA256(old.PublicKey())}
	}))
	r.mayEnter(later, "true")
	r.mayNotEnter(alice)
	serial := strconv.FormatUint(alice.certificate(r).Serial, 10)
	r.p.event("mallory's try with the old CA", func(e api.AgentEvent) bool { return e.Kind == "refused" && e.Serial == serial })
	r.p.mu.Lock()
	told := 0
	for _, e := range r.p.events {
		if e.Kind == "refused" {
			told++
		}
	}
	r.p.mu.Unlock()
	if err := session.Process.Signal(os.Interrupt); err != nil {
		t.Errorf("the session that was open has ended: %v", err)
	}
	session.Wait()
	r.p.event("the end of the session that was open", func(e api.AgentEvent) bool { return e.Kind == "logout" && e.Serial == serial })
	if told != 1 {
		t.Errorf("%d certificates are told as refused, want one", told)
	}
	r.stop()
}

// shownCertificate is the host certificate that sshd shows.
func (r *rig) shownCertificate() *ssh.Certificate {
	r.Helper()
	conn, err := r.n.Dial(r.Context(), "tcp", r.h.Addr().String()+":22")
	if err != nil {
		r.Fatal(err)
	}
	defer conn.Close()
	var shown ssh.PublicKey
	ssh.NewClientConn(conn, "", &ssh.ClientConfig{
		User: "nobody", HostKeyAlgorithms: []string{ssh.CertAlgoED25519v01}, Timeout: patience,
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error { shown = key; return nil },
	})
	cert, ok := shown.(*ssh.Certificate)
	if !ok {
		r.Fatalf("sshd shows %T", shown)
	}
	return cert
}

// A host certificate whose last third has begun is renewed at the next look, and
// sshd shows the new one. Where the control plane gives none, the old one stays,
// and how long it is good is told.
func TestAHostCertificateIsRenewed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.sshd()
	r.p.age(21 * 24 * time.Hour)
	v := r.p.set(func(d *api.DesiredState) { d.Accounts = []api.Account{account("alice", 70001)} })
	r.start()
	r.p.confirmed(v)
	alice := r.person("alice", true)
	first := r.shownCertificate()

	r.p.lying(func(w http.ResponseWriter, req *http.Request) bool {
		if req.URL.Path == "/v1/agent/host-certificate" {
			answer(w, api.Errorf(api.Unavailable, "not now"))
			return true
		}
		return false
	})
	v = r.p.set(func(*api.DesiredState) {})
	r.p.problem("the host certificate could not be renewed: the one in use is good for 8 days more")
	r.p.confirmed(v) // it is in force all the same
	r.mayEnter(alice, "true")
	if r.shownCertificate().Serial != first.Serial {
		t.Error("another certificate is shown")
	}

	r.p.lying(nil)
	r.p.age(0)
	r.p.confirmed(r.p.set(func(*api.DesiredState) {}))
	second := r.shownCertificate()
	if second.Serial == first.Serial || second.ValidBefore <= first.ValidBefore {
		t.Error("the old certificate is shown")
	}
	r.mayEnter(alice, "true")
	if last := r.p.last(); len(last.Problems) > 0 || last.HostCA != ssh.FingerprintSHA256(r.p.hostCA.PublicKey()) {
		t.Errorf("reported %v, CA %s", last.Problems, last.HostCA)
	}

	// The CA of hosts is rotated. Published, it changes nothing; when it signs, the
	// certificate of the other one is left at once.
	old, next := r.p.hostCA, newSigner(t)
	r.p.confirmed(r.p.set(func(d *api.DesiredState) {
		d.HostCAs = []string{sshcert.Line(old.PublicKey()), sshcert.Line(next.PublicKey())}
	}))
	if r.shownCertificate().Serial != second.Serial {
		t.Error("a published CA has changed the certificate")
	}
	r.p.confirmed(r.p.set(func(d *api.DesiredState) {
		d.HostCAs = []string{sshcert.Line(next.PublicKey()), sshcert.Line(old.PublicKey())}
	}))
	// The instance that was asked does not know of the switch yet.
	if r.shownCertificate().Serial != second.Serial || r.p.last().HostCA != ssh.FingerprintSHA256(old.PublicKey()) {
		t.Error("a new certificate of the old CA is shown")
	}
	r.p.mu.Lock()
	r.p.hostCA = next
	r.p.mu.Unlock()
	r.p.wait("the server reports the new CA", func() bool {
		return len(r.p.reports) > 0 && r.p.reports[len(r.p.reports)-1].HostCA == ssh.FingerprintSHA256(next.PublicKey())
	})
	if got := r.shownCertificate(); ssh.FingerprintSHA256(got.SignatureKey) != ssh.FingerprintSHA256(next.PublicKey()) {
		t.Error("sshd shows a certificate of the old CA")
	}
	r.p.confirmed(r.p.set(func(d *api.DesiredState) { d.HostCAs = d.HostCAs[:1] }))
	r.mayEnter(alice, "true")
	r.stop()
}

// The agent is killed before each step of renewing the list. What sshd reads is at
// every moment the old list or the new one, whole; and the next run goes on.
func TestKilledWhileTheListOfRevokedKeysIsRenewed(t *testing.T) {
	t.Parallel()
	r, alice, local := staffed(t)
	var serials []string
	for die := 1; ; die++ {
		r.stop()
		victim := r.person("alice", true)
		serials = append(serials, strconv.FormatUint(victim.certificate(r).Serial, 10))
		v := r.p.set(func(d *api.DesiredState) { d.Revoked.Serials = slices.Clone(serials) })
		r.start("CARDEA_TEST_DIE_AT=" + strconv.Itoa(die))
		done := false
		r.eventually("the agent dies or is done", func() bool {
			select {
			case <-r.agent.Done():
				return true
			default:
			}
			done = r.p.last().Confirmed == v
			return done
		})
		r.sh("ssh-keygen -Q -l -f " + revokedFile + " && /usr/sbin/sshd -t")
		r.mayEnter(alice, "true")
		r.mayEnterPlain(local)
		if done {
			r.mayNotEnter(victim)
			if die < 4 {
				t.Errorf("the agent has %d steps: they are not what this test thinks", die-1)
			}
			break
		}
		r.agent = nil
		r.start()
		r.p.confirmed(v)
		r.mayNotEnter(victim)
		if left := r.sh("ls -A /etc/ssh/cardea /var/lib/cardea-server-agent | grep -E 'tmp|check'; true"); left != "" {
			t.Errorf("killed before step %d: it leaves %s", die, left)
		}
	}
	r.stop()
}
