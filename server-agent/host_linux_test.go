package serveragent

import (
	"crypto/ed25519"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/entitlement"
	"github.com/cardea-ssh/cardea/sshcert"
	"github.com/google/go-cmp/cmp"
)

func alice(state string, admin bool) api.Account {
	return api.Account{User: "usr_a", Login: "alice", UID: 70001, GID: 70001, FullName: "Alice A", Shell: "/bin/bash", State: state, Admin: admin}
}

func carol() api.Account {
	return api.Account{User: "usr_c", Login: "carol", UID: 70002, GID: 70002, State: "active"}
}

// A host from its enrolment to the end of somebody's access, with the real
// useradd, sudo and sshd.
func TestAHostFromEnrolmentToLocking(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	root := r.person("root", false)
	r.write("/root/.ssh/authorized_keys", root.public(r), 0o600)
	r.write("/etc/skel/.profile", "echo skel\n", 0o644)
	r.sh("ln -s /etc/shadow /etc/skel/trap")
	before := r.run("/usr/sbin/sshd", "-T", "-C", "user=root,host=x,addr=10.0.0.1,laddr=10.0.0.2,lport=22")
	config := r.run("cat", "/etc/ssh/sshd_config")
	r.sshd()
	v := r.p.set(func(d *api.DesiredState) {
		d.Accounts = []api.Account{alice("active", true), carol()}
		d.Groups = []api.AccountGroup{{Group: "grp_o", Name: "ops", GID: 80001, Members: []string{"alice"}}}
	})
	r.start()
	if rep := r.p.confirmed(v); len(rep.Problems) > 0 || !strings.HasPrefix(rep.HostKey, "ssh-ed25519 ") || rep.Address != r.h.Addr().String()+":22" {
		t.Errorf("report %+v", rep)
	}

	t.Run("the accounts are what the state says, and sudo works", func(t *testing.T) {
		for command, want := range map[string]string{
			"getent passwd alice carol | cut -d: -f1,3-7": "alice:70001:70001:Alice A:/home/alice:/bin/bash\ncarol:70002:70002::/home/carol:/bin/bash\n",
			"id -Gn alice": "alice cardea-managed ops\n",
			"stat -c '%a %U:%G' /home/alice /home/alice/.profile": "700 alice:alice\n644 alice:alice\n",
			"ls -A /home/carol | grep -c trap || true":            "0\n",
			"stat -c '%a %u:%g' /etc/sudoers.d/50-cardea-70001":   "440 0:0\n",
			"ls /etc/sudoers.d":                                                  "50-cardea-70001\n",
			"sudo -l -U alice | tail -1 | tr -d ' '":                             "(ALL:ALL)NOPASSWD:ALL\n",
			"sudo -l -U carol | head -1":                                         "User carol is not allowed to run sudo on web-1.\n",
			"getent shadow alice carol cardea-canary | cut -d: -f2":              "*\n*\n*\n",
			"ls /var/lib/cardea-server-agent/enrollment.token 2>&1 | tail -c 10": "directory\n",
			"stat -c '%a' /var/lib/cardea-server-agent/*.json /var/lib/cardea-server-agent/identity.pem | sort -u": "600\n",
			"cat /etc/ssh/sshd_config":                                config,
			"cut -d' ' -f2 /etc/ssh/cardea/principals/alice":          "alice@" + r.p.server + "\n",
			"visudo -c >/dev/null && /usr/sbin/sshd -t && echo valid": "valid\n",
		} {
			if got := r.sh(command); got != want {
				t.Errorf("%s: got %q, want %q", command, got, want)
			}
		}
		// Older versions print the names of settings in small letters.
		ours := regexp.MustCompile(`(?mi)^hostcertificate /etc/ssh/cardea/ssh_host_ed25519_key-cert\.pub\n`)
		after := ours.ReplaceAllString(r.run("/usr/sbin/sshd", "-T", "-C", "user=root,host=x,addr=10.0.0.1,laddr=10.0.0.2,lport=22"), "")
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("root's settings changed: %s", diff)
		}
	})

	t.Run("a certificate opens the one account, and only by it", func(t *testing.T) {
		r.T = t
		if got := r.mayEnter(r.person("alice", true), "id -un; sudo -n id -un"); got != "alice\nroot\n" {
			t.Errorf("alice is %q", got)
		}
		other := r.person("carol", true)
		other.login = "alice"
		r.mayNotEnter(other)
		if out, err := r.ssh(root, true, "id", "-un").CombinedOutput(); err != nil || string(out) != "root\n" {
			t.Errorf("root's own key: %v %s", err, out)
		}
		e := r.p.event("alice's login", func(e api.AgentEvent) bool { return e.Kind == "login" && e.Login == "alice" })
		if e.Serial == "" || !strings.HasPrefix(e.KeyID, "cardea:user=") || e.Source == "" {
			t.Errorf("event %+v", e)
		}
		r.p.event("its end", func(x api.AgentEvent) bool { return x.Kind == "logout" && x.Serial == e.Serial })
	})

	t.Run("a managed person cannot leave himself a key", func(t *testing.T) {
		r.T = t
		own := r.person("alice", false)
		r.mayEnter(r.person("alice", true), "mkdir -m 700 .ssh; echo '"+strings.TrimSpace(own.public(r))+"' >.ssh/authorized_keys; chmod 600 .ssh/authorized_keys")
		r.mayNotEnter(own)
	})

	t.Run("answers that are no good change nothing", func(t *testing.T) {
		r.T = t
		lies(t, r)
	})

	t.Run("a tombstone ends the session and what runs, and keeps out", func(t *testing.T) {
		r.T = t
		session := r.ssh(r.person("alice", true), false, "nohup setsid sleep 1000 >/dev/null 2>&1 & sudo -n sleep 1001 & echo up; sleep 1002")
		out, err := session.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := session.Start(); err != nil {
			t.Fatal(err)
		}
		io.ReadFull(out, make([]byte, 3))
		v := r.p.set(func(d *api.DesiredState) { d.Accounts[0] = alice("locked", true) })
		began := time.Now()
		if err := session.Wait(); err == nil {
			t.Error("the session ended by itself")
		}
		t.Logf("the session ended %s after the change", time.Since(began).Round(time.Millisecond))
		r.p.confirmed(v)
		if got := r.sh("ps -eo user:20,args | grep -c '[s]leep 100[012]' || true"); got != "0\n" {
			t.Errorf("%s processes go on", got)
		}
		if got := r.sh("ls /etc/sudoers.d /etc/ssh/cardea/principals; id -Gn alice"); got != "/etc/ssh/cardea/principals:\ncardea-canary\ncarol\n\n/etc/sudoers.d:\nalice cardea-managed\n" {
			t.Errorf("left: %q", got)
		}
		r.mayNotEnter(r.person("alice", true))
		r.mayEnter(r.person("carol", true), "true")
		r.p.event("the lock", func(e api.AgentEvent) bool {
			return e.Kind == "account" && e.Login == "alice" && strings.HasPrefix(e.Detail, "locked")
		})
	})

	t.Run("who comes back is let in again, who is absent is locked", func(t *testing.T) {
		r.T = t
		r.p.confirmed(r.p.set(func(d *api.DesiredState) { d.Accounts = []api.Account{alice("active", false)} }))
		r.mayEnter(r.person("alice", true), "true")
		r.mayNotEnter(r.person("carol", true))
		if got := r.sh("ls /etc/sudoers.d; getent shadow carol | cut -d: -f8; test -d /home/carol && echo home"); got != "1\nhome\n" {
			t.Errorf("left: %q", got)
		}
	})

	t.Run("only the declared sources may come where a gateway is required", func(t *testing.T) {
		r.T = t
		r.p.confirmed(r.p.set(func(d *api.DesiredState) { d.Sources = []string{"192.0.2.1"} }))
		r.mayNotEnter(r.person("alice", true))
		r.p.confirmed(r.p.set(func(d *api.DesiredState) { d.Sources = []string{r.n.Addr().String(), "192.0.2.1"} }))
		r.mayEnter(r.person("alice", true), "true")
	})

	t.Run("a new CA is trusted after a proof, and the old one is not any more", func(t *testing.T) {
		r.T = t
		old := r.person("alice", true)
		next := newSigner(t)
		r.p.confirmed(r.p.set(func(d *api.DesiredState) { r.p.userCA, d.UserCAs = next, []string{sshcert.Line(next.PublicKey())} }))
		r.mayNotEnter(old)
		r.mayEnter(r.person("alice", true), "true")
	})

	t.Run("nothing is done a second time, also after a restart", func(t *testing.T) {
		r.T = t
		was := r.snapshot()
		r.stop()
		r.p.mu.Lock()
		r.p.reports = nil
		want := r.p.state.Version
		r.p.mu.Unlock()
		r.start()
		r.p.confirmed(want)
		if diff := cmp.Diff(was, r.snapshot()); diff != "" {
			t.Error(diff)
		}
		if strings.Contains(r.agent.Log(), "msg=done") || strings.Contains(r.agent.Log(), "proved") {
			t.Errorf("something was done: %s", r.agent.Log())
		}
		if got := r.run("/usr/bin/env", "CARDEA_TEST_AGENT=1", agentPath, "plan"); strings.TrimSpace(got) != "" {
			t.Errorf("plan: %s", got)
		}
	})
}

// maxPeak is what the agent may have in memory while it is lied to, in KiB: an
// answer of api.MaxAnswer on its way, with the copies of it and of the one before.
// The race detector needs several times of that.
const maxPeak = 150 << 10 * (1 + 9*raceFactor)

// lies answers the poll with one bad thing after another.
func lies(t *testing.T, r *rig) {
	was := r.snapshot() + r.etc()
	_, mallory, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	empty := func(change func(*api.DesiredState)) api.DesiredState {
		r.p.mu.Lock()
		defer r.p.mu.Unlock()
		d := r.p.state
		d.Version.Counter += 10
		d.Accounts, d.Groups = nil, nil
		change(&d)
		return d
	}
	state := func(d api.DesiredState, by ed25519.PrivateKey) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { answer(w, r.p.sign(d, by)) }
	}
	zip := bomb(128 << 20)
	for _, lie := range []struct {
		name, problem string
		tell          func(http.ResponseWriter)
	}{
		{"signed by somebody else", "not signed", state(empty(func(*api.DesiredState) {}), mallory)},
		{"not signed at all", "not signed", func(w http.ResponseWriter) { answer(w, api.SignedState{}) }},
		{"an empty list that is not complete", "not complete", state(empty(func(d *api.DesiredState) { d.Complete = false }), r.p.policy)},
		{"for another server", "another server", state(empty(func(d *api.DesiredState) { d.Server = "srv_aaaaaaaaaaaaaaaaaaaa" }), r.p.policy)},
		{"an older one", "older", state(empty(func(d *api.DesiredState) { d.Version.Counter = 0 }), r.p.policy)},
		{"of an older epoch", "older", state(empty(func(d *api.DesiredState) { d.Version.Epoch = 0 }), r.p.policy)},
		{"half of one", "does not", func(w http.ResponseWriter) { io.WriteString(w, `{"state":"e30`) }},
		{"a page", "", func(w http.ResponseWriter) { io.WriteString(w, "<html>Please sign in to the hotel</html>") }},
		{"an empty object", "not signed", func(w http.ResponseWriter) { io.WriteString(w, "{}") }},
		{"a failure", "", func(w http.ResponseWriter) { w.WriteHeader(500) }},
		{"nothing at all", "", func(http.ResponseWriter) {}},
		{"one cut off in the middle", "", func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "100000")
			io.WriteString(w, `{"state":"e30`)
		}},
		{"a connection reset in the middle", "", func(w http.ResponseWriter) {
			io.WriteString(w, `{"state":"e30`)
			http.NewResponseController(w).Flush()
			if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
				conn.(*net.TCPConn).SetLinger(0)
				conn.Close()
			}
		}},
		{"a good one for whoever follows", "", func(w http.ResponseWriter) {
			w.Header().Set("Location", "http://127.0.0.1:7080/elsewhere") // serves what is signed, see below
			w.WriteHeader(http.StatusTemporaryRedirect)
		}},
		{"a bomb", "", func(w http.ResponseWriter) { w.Header().Set("Content-Encoding", "gzip"); w.Write(zip) }},
		{"no end", "", func(w http.ResponseWriter) {
			for range 1 << 10 {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
		}},
	} {
		began := time.Now()
		told := make(chan bool, 100)
		r.p.lying(func(w http.ResponseWriter, req *http.Request) bool {
			if req.URL.Path == "/elsewhere" {
				t.Errorf("%s: the agent follows", lie.name)
				answer(w, r.p.sign(empty(func(*api.DesiredState) {}), r.p.policy))
				return true
			}
			if req.URL.Path != "/v1/agent/state" {
				return false
			}
			lie.tell(w)
			select {
			case told <- true:
			default:
			}
			return true
		})
		times := 2 // when the second is asked for, the first was judged
		if lie.name == "no end" {
			times = 1 // judged before the next good one, below
		}
		for range times {
			select {
			case <-told:
			case <-time.After(40 * time.Second):
				t.Fatalf("%s: the agent does not ask any more", lie.name)
			}
		}
		r.p.lying(nil)
		t.Logf("%s: %s", lie.name, time.Since(began).Round(time.Millisecond))
		if got := r.run("cat", "/var/lib/cardea-server-agent/state.json"); strings.Contains(got, "srv_aaaa") {
			t.Errorf("%s was kept", lie.name)
		}
		if diff := cmp.Diff(was, r.snapshot()+r.etc()); diff != "" {
			t.Errorf("%s changed something: %s", lie.name, diff)
		}
	}
	peak, err := strconv.Atoi(strings.Fields(r.sh("grep VmHWM /proc/[0-9]*/status | grep -F /proc/$(pidof " + agentPath + ")/"))[1])
	t.Logf("the agent's memory never was more than %d KiB, %v", peak, err)
	if err != nil || peak > maxPeak {
		t.Errorf("%v: the agent's memory was %d KiB, more than %d", err, peak, maxPeak)
	}
	r.p.event("a refused state", func(e api.AgentEvent) bool { return e.Kind == "alarm" && strings.Contains(e.Detail, "was refused") })
	r.p.confirmed(r.p.set(func(d *api.DesiredState) {}))
}

// What was wrong with the host before Cardea came stays as it is, is reported,
// and holds nobody else up.
func TestAHostWithTroublesOfItsOwn(t *testing.T) {
	const tried = 7 // each is a host of its own
	type trouble struct {
		name, prepare, problem string
		// same is what must be the same afterwards.
		same string
		// carol may enter although alice has trouble.
		others bool
	}
	for _, tc := range some(t, tried, []trouble{
		{
			"a local account of the same name", "groupadd -g 1500 alice; useradd -u 1500 -g 1500 -m -p '*' alice",
			"an account alice that is not Cardea's", "getent passwd alice; getent shadow alice; id alice; ls -lnRA /home/alice", true,
		},
		{
			"a local account with the same uid, too", "groupadd -g 70001 alice; useradd -u 70001 -g 70001 -m -p '*' alice",
			"an account alice that is not Cardea's", "getent passwd alice; getent shadow alice; id alice", true,
		},
		{
			"a home of somebody else's with a set-uid program", "mkdir /home/alice; cp /bin/sh /home/alice/sh; chown -R 1234:1234 /home/alice; chmod 4755 /home/alice/sh",
			"/home/alice is there already and belongs to uid 1234", "ls -lnRA /home/alice", true,
		},
		{
			"a home that is a link to /etc", "ln -s /etc /home/alice",
			"/home/alice is there already and is no folder", "readlink /home/alice; stat -c '%u:%g %a' /home/alice /etc", true,
		},
		{
			"a home that is a FIFO", "mkfifo /home/alice",
			"/home/alice is there already and is no folder", "ls -ln /home/alice", true,
		},
		{
			"a /home that everybody may write", "chmod 1777 /home",
			"/home is not a folder that root alone can write", "ls -ln /home", false,
		},
		{
			"a broken sudo configuration", "echo 'alice ALL=(ALL' >>/etc/sudoers",
			"the sudo configuration of the host is broken", "sha256sum /etc/sudoers; ls /etc/sudoers.d", true,
		},
		{
			"a broken drop-in of sudo's", "echo 'x y z' >/etc/sudoers.d/90-broken; chmod 440 /etc/sudoers.d/90-broken",
			"the sudo configuration of the host is broken", "sha256sum /etc/sudoers; ls /etc/sudoers.d", true,
		},
		{
			"a broken sshd configuration", "echo 'Nonsense yes' >>/etc/ssh/sshd_config",
			"configuration is broken", "sha256sum /etc/ssh/sshd_config; ls /etc/ssh/sshd_config.d", false,
		},
		{
			"an sshd that lets only others in", "echo 'AllowGroups root' >>/etc/ssh/sshd_config; kill -HUP $(cat /run/sshd.pid); sleep 0.5",
			"sshd was put back", "sha256sum /etc/ssh/sshd_config; ls /etc/ssh/sshd_config.d", false,
		},
		{
			"a Match block that comes before ours", "printf 'Match Group cardea-managed\\n AuthorizedKeysFile .ssh/authorized_keys\\n' >/etc/ssh/sshd_config.d/10-hole.conf",
			"sets authorizedkeysfile to", "sha256sum /etc/ssh/sshd_config; ls /etc/ssh/sshd_config.d", false,
		},
		{
			"a host certificate of somebody else's", "ssh-keygen -q -t ed25519 -N '' -f /root/ca; ssh-keygen -q -s /root/ca -I x -h -n x /etc/ssh/ssh_host_ed25519_key.pub; " +
				"echo 'HostCertificate /etc/ssh/ssh_host_ed25519_key-cert.pub' >>/etc/ssh/sshd_config",
			"certificate of somebody else's", "sha256sum /etc/ssh/sshd_config; ls /etc/ssh/sshd_config.d", false,
		},
		{
			"a probe account that is somebody's", "useradd -r -p '*' cardea-canary",
			"cardea-canary is not Cardea's", "getent passwd cardea-canary; ls /etc/ssh/sshd_config.d", false,
		},
	}) {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			root := r.person("root", false)
			r.write("/root/.ssh/authorized_keys", root.public(r), 0o600)
			r.sshd()
			r.sh(tc.prepare)
			was := r.sh(tc.same)
			r.p.set(func(d *api.DesiredState) { d.Accounts = []api.Account{alice("active", true), carol()} })
			r.start()
			r.p.problem(tc.problem)
			if got := r.sh(tc.same); got != was {
				t.Errorf("it was changed: was %q, is %q", was, got)
			}
			if tc.others {
				r.mayEnter(r.person("carol", true), "true")
			}
			if strings.HasPrefix(tc.name, "an sshd that lets only others in") {
				r.p.event("the undo", func(e api.AgentEvent) bool { return e.Kind == "alarm" })
			}
			if out, err := r.ssh(root, true, "id", "-un").CombinedOutput(); err != nil || string(out) != "root\n" {
				t.Errorf("root cannot enter any more: %v: %s", err, out)
			}
		})
	}
}

// No certificate for the probe, or one that does not fit, means no change.
func TestWithoutAProofSSHDIsNotTouched(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.sshd()
	ls := "sha256sum /etc/ssh/sshd_config; ls /etc/ssh/sshd_config.d; stat -c %i /run/sshd.pid"
	was := r.sh(ls)
	r.p.lying(func(w http.ResponseWriter, req *http.Request) bool {
		if req.URL.Path != "/v1/agent/canary" {
			return false
		}
		answer(w, api.Errorf(api.Unavailable, "not now"))
		return true
	})
	r.p.set(func(d *api.DesiredState) { d.Accounts = []api.Account{carol()} })
	r.start()
	r.p.problem("no certificate to prove a change with")
	r.p.canaryBy = newSigner(t)
	r.p.lying(nil)
	r.p.set(func(d *api.DesiredState) {})
	r.p.problem("not signed by a CA of this state")
	if got := r.sh(ls); got != was {
		t.Errorf("sshd was touched: was %q, is %q", was, got)
	}
	r.p.mu.Lock()
	r.p.canaryBy = nil
	r.p.mu.Unlock()
	r.p.confirmed(r.p.set(func(d *api.DesiredState) {}))
	r.mayEnter(r.person("carol", true), "true")
}

// The Include is added only where there is none, and the rest of the file
// stays, byte for byte; drop-ins of others that were asleep sleep on.
func TestAnSSHDThatIncludesNothing(t *testing.T) {
	const config = "# by hand, without a last line end\nUsePAM yes\nMatch User nobody\n\tX11Forwarding no"
	for name, prepare := range map[string]string{
		"and has no folder for it": "rm -r /etc/ssh/sshd_config.d",
		"but has drop-ins":         "printf 'PermitRootLogin no\n' >/etc/ssh/sshd_config.d/20-asleep.conf",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.write("/etc/ssh/sshd_config", config, 0o600)
			r.sh(prepare)
			r.sshd()
			v := r.p.set(func(d *api.DesiredState) { d.Accounts = []api.Account{carol()} })
			r.start()
			r.p.confirmed(v)
			r.mayEnter(r.person("carol", true), "true")
			if got, want := r.sh("cat /etc/ssh/sshd_config; stat -c %a /etc/ssh/sshd_config"), "# The next line was added by cardea-server-agent.\nInclude /etc/ssh/sshd_config.d/50-cardea.conf\n"+config+"600\n"; got != want {
				t.Errorf("got %q", got)
			}
			if got := r.run("cat", "/var/lib/cardea-server-agent/sshd_config.before"); got != config {
				t.Errorf("the copy is %q", got)
			}
			permit := regexp.MustCompile(`^(?i:permitrootlogin) (without|prohibit)-password\n755\n$`)
			if got := r.sh("/usr/sbin/sshd -T | grep -i '^permitrootlogin'; stat -c %a /etc/ssh/sshd_config.d"); !permit.MatchString(got) {
				t.Errorf("got %q", got)
			}
		})
	}
}

// The agent is killed before one of its steps, any of them over many runs of the
// test. Whenever that is, sudo's and sshd's configuration are valid and root can
// enter; the next run finishes the work, and the host is as if nothing had happened.
func TestKilledAnywhereTheHostIsWholeAndConverges(t *testing.T) {
	const tried = 3
	want := ""
	for _, tc := range []struct {
		name string
		env  []string
	}{
		{"accounts one by one", nil},
		{"accounts made together", []string{"CARDEA_TEST_MANY=2"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var steps int
			want, steps = killAt(t, never, want, tc.env...)
			if steps < 10 {
				t.Fatalf("the agent has %d steps: they are not what this test thinks", steps)
			}
			t.Run("before step", func(t *testing.T) {
				for _, die := range some(t, tried, upTo(steps)) {
					t.Run(strconv.Itoa(die), func(t *testing.T) {
						t.Parallel()
						if got, _ := killAt(t, die, want, tc.env...); got == "" {
							t.Errorf("the agent has not come to this step, of %d", steps)
						}
					})
				}
			})
		})
	}
}

// never is a step before which no agent dies.
const never = -1

// killAt returns what the host is like in the end, or "" if there was no such
// step, and how many steps an agent made that did not die.
func killAt(t *testing.T, die int, want string, env ...string) (got string, steps int) {
	r := newRig(t)
	root := r.person("root", false)
	r.write("/root/.ssh/authorized_keys", root.public(r), 0o600)
	r.sshd()
	v := r.p.set(func(d *api.DesiredState) {
		c := carol()
		c.Sudo = []entitlement.Command{{Kind: entitlement.Executable, Path: "/usr/bin/id", Arguments: entitlement.NoArguments}}
		d.Accounts = []api.Account{alice("active", true), c}
		d.Groups = []api.AccountGroup{{Group: "grp_o", Name: "ops", GID: 80001, Members: []string{"alice", "carol"}}}
	})
	r.start(append(slices.Clone(env), "CARDEA_TEST_DIE_AT="+strconv.Itoa(die))...)
	if die != never {
		done := false
		r.eventually("the agent dies or is done", func() bool {
			select {
			case <-r.agent.Done():
				return true
			default:
			}
			r.p.mu.Lock()
			defer r.p.mu.Unlock()
			done = len(r.p.reports) > 0 && r.p.reports[len(r.p.reports)-1].Confirmed == v
			return done
		})
		if done {
			return "", 0
		}
		if out := r.sh("visudo -c >/dev/null && /usr/sbin/sshd -t && echo valid"); out != "valid\n" {
			t.Errorf("killed: %s", out)
		}
		if out, err := r.ssh(root, true, "id", "-un").CombinedOutput(); err != nil || string(out) != "root\n" {
			t.Errorf("killed: root cannot enter: %v: %s", err, out)
		}
		r.start(env...)
	}
	r.p.confirmed(v)
	steps = strings.Count(r.agent.Log(), stepMark)
	r.mayEnter(r.person("alice", true), "sudo", "-n", "true")
	r.mayEnter(r.person("carol", true), "sudo", "-n", "/usr/bin/id")
	r.stop()
	got = r.sh(`getent passwd alice carol cardea-canary; getent group alice carol ops cardea-managed; getent shadow alice carol; grep -E "^(alice|carol|ops|cardea-)" /etc/gshadow; pwck -qr; grpck -r; stat -c "%n %a %u:%g" /etc/passwd /etc/group /etc/shadow /etc/gshadow
		find /home /etc/sudoers.d /etc/ssh -printf '%p %y %m %U:%G\n' | LC_ALL=C sort
		cat /etc/sudoers.d/* /etc/ssh/sshd_config /etc/ssh/sshd_config.d/* | sha256sum
		cd /var/lib/cardea-server-agent; ls -A; cat accounts.json`)
	if want != "" {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("killed and run again: %s", diff)
		}
	}
	return got, steps
}

// Without a control plane the host stays as it was told last; a directory that
// loses most people at once is not believed before somebody has looked.
func TestTheLastGoodStateHoldsAndMassRemovalWaits(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.sshd()
	people := func(n int) (out []api.Account) {
		for i := range n {
			out = append(out, api.Account{User: "usr_x", Login: "u" + strconv.Itoa(i), UID: 71000 + i, GID: 71000 + i, State: "active"})
		}
		return out
	}
	v := r.p.set(func(d *api.DesiredState) { d.Accounts = people(12) })
	r.start()
	r.p.confirmed(v)
	last := r.person("u11", true)

	v = r.p.set(func(d *api.DesiredState) { d.Accounts = people(3) })
	r.p.problem("9 of 12 accounts would be locked")
	r.p.confirmed(v)
	r.mayEnter(last, "true")
	r.run("/usr/bin/env", "CARDEA_TEST_AGENT=1", agentPath, "confirm")
	r.p.wait("the problem is gone", func() bool { return len(r.p.reports[len(r.p.reports)-1].Problems) == 0 })
	r.mayNotEnter(last)
	r.mayEnter(r.person("u2", true), "true")
	if got := r.sh("ls /var/lib/cardea-server-agent/confirm-removals 2>/dev/null | wc -l"); got != "0\n" {
		t.Error("the confirmation can be used again")
	}

	r.stop()
	r.sh("rm /etc/ssh/cardea/principals/u2; gpasswd -d u11 cardea-managed; chmod 777 /etc/ssh/cardea/principals")
	r.p.lying(func(w http.ResponseWriter, req *http.Request) bool { w.WriteHeader(500); return true })
	r.start()
	r.eventually("what was damaged is mended without a control plane", func() bool {
		return r.sh("id -Gn u11; stat -c %a /etc/ssh/cardea/principals; ls /etc/ssh/cardea/principals | wc -l") == "u11 cardea-managed\n755\n4\n"
	})
	was := r.snapshot()
	old := r.p.state
	old.Version.Counter--
	old.Accounts = nil
	asked := make(chan bool, 100)
	r.p.lying(func(w http.ResponseWriter, req *http.Request) bool {
		if req.URL.Path == "/v1/agent/state" {
			answer(w, r.p.sign(old, r.p.policy))
			asked <- true
			return true
		}
		return false
	})
	<-asked
	<-asked
	r.p.problem("older than")
	if diff := cmp.Diff(was, r.snapshot()); diff != "" {
		t.Error(diff)
	}
}

// Whoever starts the agent cannot make it run anything else, or leave anything
// open.
func TestAHostileEnvironment(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.sshd()
	r.sh(`mkdir -m 777 /tmp/evil; for p in useradd usermod groupadd gpasswd visudo cvtsudoers sshd ssh-keygen sh systemctl; do
		printf '#!/bin/sh\ntouch /tmp/pwned\n' >/tmp/evil/$p; chmod 755 /tmp/evil/$p; done`)
	v := r.p.set(func(d *api.DesiredState) { d.Accounts = []api.Account{alice("active", true)} })
	p, err := r.h.Start(t.Context(), "/bin/sh", "-c", "umask 000; cd /tmp/evil; exec /usr/bin/env PATH=/tmp/evil TMPDIR=/tmp/evil LD_LIBRARY_PATH=/tmp/evil BASH_ENV=/tmp/evil/sh ENV=/tmp/evil/sh EDITOR=/tmp/evil/sh SUDO_EDITOR=/tmp/evil/sh CARDEA_TEST_AGENT=1 "+agentPath+" run")
	if err != nil {
		t.Fatal(err)
	}
	r.agent = p
	r.p.confirmed(v)
	r.mayEnter(r.person("alice", true), "sudo", "-n", "true")
	if got := r.sh("ls /tmp /tmp/evil | grep -c pwned || true; find /etc/ssh /etc/sudoers.d /var/lib/cardea-server-agent /home ! -type l -perm /022"); got != "0\n" {
		t.Errorf("got %q", got)
	}
	if got := r.sh("ls -A /tmp"); got != "evil\n" {
		t.Errorf("/tmp holds %q", got)
	}
}
