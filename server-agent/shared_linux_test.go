package serveragent

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/api"
	"golang.org/x/crypto/ssh"
)

// user is the id of the person in his certificate.
func (who person) user(r *rig) string {
	r.Helper()
	raw, err := os.ReadFile(filepath.Join(who.dir, "key-cert.pub"))
	if err != nil {
		r.Fatal(err)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(raw)
	if err != nil {
		r.Fatal(err)
	}
	m := keyUser.FindStringSubmatch(key.(*ssh.Certificate).KeyId)
	if m == nil {
		r.Fatalf("key id %s", key.(*ssh.Certificate).KeyId)
	}
	return m[1]
}

// stay opens a session that stays, in which something runs on its own as well.
func (r *rig) stay(who person, mark string) *exec.Cmd {
	r.Helper()
	cmd := r.ssh(who, false, fmt.Sprintf("echo $PPID >/tmp/%[1]s-sshd; setsid sh -c 'echo $$ >/tmp/%[1]s-job; exec sleep 1000' >/dev/null 2>&1 </dev/null & exec sleep 1001", mark))
	if err := cmd.Start(); err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	r.eventually(mark+" is in", func() bool { return r.sh("cat /tmp/"+mark+"-job 2>/dev/null; true") != "" })
	r.p.event("the login of "+mark, func(e api.AgentEvent) bool { return e.Kind == "login" && strings.Contains(e.KeyID, who.user(r)) })
	return cmd
}

// thrownOut waits until a session ends, and not by itself.
func (r *rig) thrownOut(cmd *exec.Cmd) {
	r.Helper()
	over := make(chan error, 1)
	go func() { over <- cmd.Wait() }()
	var err error
	r.eventually("the session ends", func() bool {
		select {
		case err = <-over:
			return true
		default:
			return false
		}
	})
	if err == nil {
		r.Error("the session ended as if by itself")
	}
}

func (r *rig) runs(mark string) bool {
	r.Helper()
	return r.sh(fmt.Sprintf("kill -0 $(cat /tmp/%s-job) 2>/dev/null && echo yes; true", mark)) == "yes\n"
}

// Two people are in one account, and one of them is disabled.
func TestOneOfSeveralInASharedAccountIsDisabled(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.sshd()
	ann, ben := r.person("deploy", true), r.person("deploy", true)
	shared := func(people ...string) api.StateVersion {
		return r.p.set(func(d *api.DesiredState) {
			d.Accounts = []api.Account{{Login: "deploy", UID: 70010, GID: 70010, FullName: "shared", State: "active", Shared: true, People: people}}
		})
	}
	v := shared(ann.user(r), ben.user(r))
	r.start()
	r.p.confirmed(v)
	first, second := r.stay(ann, "ann"), r.stay(ben, "ben")

	// Ann has a line say that her session is Ben's, and his is hers: that changes
	// nothing for her. The agent remembers over a restart.
	r.sh(fmt.Sprintf(`logger -t "sshd[$(cat /tmp/ann-sshd)]" 'nothing' 2>/dev/null
		pid=$(ps -o ppid= -p $(cat /tmp/ann-sshd) | tr -d ' ')
		echo "$(date +%%Y-%%m-%%dT%%H:%%M:%%S.000000+00:00) web-1 sshd[$pid]: Accepted publickey for deploy from 10.0.0.9 port 4711 ssh2: ED25519-CERT SHA256:%[2]s ID cardea:user=%[1]s:session=x:device=y (serial 7) CA ED25519 SHA256:%[2]s" >>/var/log/auth.log`,
		ben.user(r), strings.Repeat("A", 43)))
	r.p.event("the forged line", func(e api.AgentEvent) bool { return e.Serial == "7" })
	r.stop()
	r.start()

	// Mallory, who has an account of another kind there, has a line say that the sshd
	// which listens is a session in deploy, of somebody who may not be there.
	forge := func(pid, serial string) {
		r.sh(fmt.Sprintf(`echo "$(date +%%Y-%%m-%%dT%%H:%%M:%%S.000000+00:00) web-1 sshd[$(%s)]: Accepted publickey for deploy from 10.0.0.9 port 4711 ssh2: ED25519-CERT SHA256:%[2]s ID cardea:user=usr_mallory:session=x:device=y (serial %[3]s) CA ED25519 SHA256:%[2]s" >>/var/log/auth.log`,
			pid, strings.Repeat("A", 43), serial))
		r.p.event("the forged line "+serial, func(e api.AgentEvent) bool { return e.Serial == serial })
	}
	forge("pgrep -o -x sshd", "8")
	r.mayEnter(ben, "true")

	shared(ben.user(r))
	r.thrownOut(first)
	r.p.event("the end of ann's session", func(e api.AgentEvent) bool {
		return e.Login == "deploy" && strings.HasPrefix(e.Detail, "ended the session of") && strings.Contains(e.Detail, ann.user(r))
	})
	audited := r.sh("cat /proc/$(cat /tmp/ben-job)/sessionid 2>/dev/null; true")
	if audited != "" && !strings.HasPrefix(audited, noAudit) {
		r.eventually("what ann left running is over", func() bool { return !r.runs("ann") })
	} else {
		t.Logf("this kernel or PAM keeps no audit sessions: what left its session goes on: %v", r.runs("ann"))
	}
	if !r.runs("ben") || second.ProcessState != nil {
		t.Error("ben was thrown out, too")
	}
	r.mayEnter(ben, "true")

	// Whoever comes in with a certificate from before does not stay.
	late := r.ssh(ann, false, "sleep 1000")
	if err := late.Start(); err != nil {
		t.Fatal(err)
	}
	r.thrownOut(late)
	if !r.runs("ben") {
		t.Error("ben was thrown out with her")
	}
}

// Ann may enter by a grant of her own, too. What she began under a break-glass ends with
// that all the same, and what she began by the grant does not.
func TestADirectSessionEndsWithItsBreakGlass(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.sshd()
	own, glass := r.person("ann", true), r.person("ann", true)
	public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(glass.public(r)))
	if err != nil {
		t.Fatal(err)
	}
	const id = "brg_aaaaaaaaaaaaaaaaaaaa"
	r.certify(glass, public, own.user(r), id)
	state := func(glass string) api.StateVersion {
		return r.p.set(func(d *api.DesiredState) {
			d.BreakGlass = glass
			d.Accounts = []api.Account{{User: own.user(r), Login: "ann", UID: 70010, GID: 70010, FullName: "Ann", State: "active"}}
		})
	}
	v := state(id)
	r.start()
	r.p.confirmed(v)
	r.stay(own, "own")
	under := r.stay(glass, "glass")
	r.p.event("the login under it", func(e api.AgentEvent) bool { return e.Kind == "login" && strings.HasSuffix(e.KeyID, ":glass="+id) })
	r.p.confirmed(state(id))
	if !r.runs("glass") {
		t.Error("it ended while the break-glass is in force")
	}
	state("")
	r.thrownOut(under)
	r.p.event("that it ended", func(e api.AgentEvent) bool {
		return e.Login == "ann" && strings.Contains(e.Detail, "a break-glass that is over")
	})
	if !r.runs("own") {
		t.Error("what ann began by her own grant ended, too")
	}
	late := r.ssh(glass, false, "sleep 1000")
	if err := late.Start(); err != nil {
		t.Fatal(err)
	}
	r.thrownOut(late)
	r.mayEnter(own, "true")
}

const noAudit = "4294967295"

// An account of the host's own is used as it is, and left as it was.
func TestAnAccountOfTheHostsOwn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.sshd()
	r.sh("useradd -m -s /bin/sh -c 'an old hand' -u 1500 legacy; useradd -m -s /bin/sh -u 1501 other; getent passwd legacy other >/root/before; getent shadow legacy other >>/root/before")
	own := r.person("legacy", true)
	state := func(s string) api.StateVersion {
		return r.p.set(func(d *api.DesiredState) {
			d.Accounts = []api.Account{
				{User: own.user(r), Login: "legacy", UID: 70020, GID: 70020, State: s, Admin: s == "active", Existing: true, Shell: "/bin/bash", FullName: "New"},
				{User: "usr_o", Login: "other", UID: 70021, GID: 70021, State: s, Existing: true},
				{User: "usr_n", Login: "nobody-here", UID: 70022, GID: 70022, State: s, Existing: true},
			}
		})
	}
	v := state("active")
	r.start("CARDEA_TEST_ADOPT=legacy,nobody-here")
	r.p.confirmed(v)
	if got := r.mayEnter(own, "id -un; sudo -n id -un"); got != "legacy\nroot\n" {
		t.Errorf("got %q", got)
	}
	r.mayNotEnter(r.person("other", true))
	r.p.problem("nobody enters the account other: the project uses accounts of the host, and adopt in the agent's configuration does not name it")
	r.p.problem("the host, which has none of that name")
	r.sh("runuser -u legacy -- setsid sleep 1002 >/dev/null 2>&1 </dev/null & echo $! >/tmp/daemon-job")
	session := r.stay(own, "own")

	r.p.confirmed(state("locked"))
	r.thrownOut(session)
	r.mayNotEnter(own)
	if got := r.sh("getent passwd legacy other >/root/after; getent shadow legacy other >>/root/after; cmp /root/before /root/after && pgrep -u legacy -x sleep -a | grep -c 1002; ls /etc/sudoers.d; ls -d /home/legacy"); !strings.HasPrefix(got, "1\n") || strings.Contains(got, "50-cardea-1500") {
		t.Errorf("the account is not as it was: %s", got)
	}
}
