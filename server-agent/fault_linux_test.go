package serveragent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/entitlement"
	"github.com/cardea-ssh/cardea/internal/buildtest"
	"github.com/cardea-ssh/cardea/internal/faulttest"
	"github.com/cardea-ssh/cardea/internal/sample"
	"github.com/cardea-ssh/cardea/sshcert"
	"github.com/google/go-cmp/cmp"
)

// faultEnv repeats one point that `make soak` found: a part of SCENE/EFFECT/POINT. What soakEnv
// says is how many faults to try, "all", or "writes": those at writes and renames alone.
const faultEnv = "CARDEA_FAULT_ONLY"

// Each run of the tests makes the changes of so many scenes, of ten, and tries so
// many faults of theirs, of thousands.
const sampledScenes, sampled = 2, 2

// faultLog is where a host has the log of the points.
const faultLog = "/run/faults.log"

// scene is one change of a host, by what the agent writes and by the programs
// that it runs for it.
type scene struct {
	name string
	// host is what the host is like before it meets the agent.
	host string
	// was is the state that is in force before; nil means that the agent is new.
	was func(*api.DesiredState)
	// becomes is the change. With verb it is that instead of run.
	becomes func(*api.DesiredState)
	verb    []string
	env     []string
	// settled is true when the change is made; nil means that it is as soon as
	// the agent says so.
	settled func(*rig) bool
	// after looks at the host that has changed.
	after func(*rig)
}

func team(d *api.DesiredState) {
	c := carol()
	c.Sudo = []entitlement.Command{{Kind: entitlement.Executable, Path: "/usr/bin/id", Arguments: entitlement.NoArguments}}
	d.Accounts = []api.Account{alice("active", true), c}
	d.Groups = []api.AccountGroup{{Group: "grp_o", Name: "ops", GID: 80001, Members: []string{"alice", "carol"}}}
}

func teamWorks(r *rig) {
	r.mayEnter(r.person("alice", true), "sudo", "-n", "true")
	r.mayEnter(r.person("carol", true), "sudo", "-n", "/usr/bin/id")
}

func scenes() []scene {
	only := func(login string) func(r *rig) {
		return func(r *rig) { r.mayEnter(r.person(login, true), "true") }
	}
	return []scene{
		{name: "first run", becomes: team, after: teamWorks},
		{name: "accounts made together", becomes: team, after: teamWorks, env: []string{"CARDEA_TEST_MANY=2"}},
		{
			name: "sshd_config without Include", host: "rm -r /etc/ssh/sshd_config.d; printf '# by hand\nUsePAM yes' >/etc/ssh/sshd_config",
			becomes: team, after: teamWorks,
		},
		{name: "sudo", was: team, becomes: func(d *api.DesiredState) {
			d.Accounts[0].Admin, d.Accounts[0].Sudo = false, d.Accounts[1].Sudo
			d.Accounts[1].Admin = true
		}, after: func(r *rig) {
			r.mayEnter(r.person("alice", true), "sudo", "-n", "/usr/bin/id")
			r.mayEnter(r.person("carol", true), "sudo", "-n", "true")
		}},
		{name: "another CA", was: team, becomes: nil, after: teamWorks}, // becomes is the rig's
		{name: "principals for other sources and times", was: team, becomes: func(d *api.DesiredState) {
			d.PrincipalSeconds, d.Sources = 30*86400, []string{"10.0.0.0/8", "192.0.2.0/24", "127.0.0.1", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "198.18.0.0/15"}
		}, after: only("alice")},
		{name: "somebody is locked", was: team, becomes: func(d *api.DesiredState) { d.Accounts[0] = alice("locked", true) }, after: func(r *rig) {
			r.mayNotEnter(r.person("alice", true))
			r.mayEnter(r.person("carol", true), "true")
		}},
		{
			name: "somebody is removed", was: team, becomes: func(d *api.DesiredState) { d.Accounts[0] = removed("archive") },
			settled: func(r *rig) bool {
				return r.sh("getent passwd alice; ls -A /home; ls -A /var/lib/cardea-server-agent/homes | wc -l") == "boss\ncarol\n1\n"
			},
			after: only("carol"),
		},
		{name: "unenroll, accounts removed", was: team, verb: []string{"unenroll", "remove"}, after: func(r *rig) {}},
		{name: "unenroll, accounts locked", was: team, verb: []string{"unenroll", "lock"}, after: func(r *rig) {}},
	}
}

// Each change is made once undisturbed, and at each of its system calls the
// host is looked at as it would be if the agent died there: sudo's and sshd's
// configuration are valid, the account files are whole. Then some are made again,
// with a call that fails or kills; the next run ends in the same host.
func TestAFaultAtAnySystemCall(t *testing.T) {
	t.Parallel()
	every := &tally{points: map[string][]string{}}
	made := scenes()
	if os.Getenv(faultEnv) == "" {
		made = some(t, sampledScenes, made)
	}
	t.Run("undisturbed", func(t *testing.T) {
		for _, sc := range made {
			t.Run(sc.name, func(t *testing.T) {
				t.Parallel()
				every.add(undisturbed(t, sc))
			})
		}
	})
	if t.Failed() {
		return
	}
	t.Run("fault", func(t *testing.T) {
		for _, f := range every.choose(t) {
			t.Run(fmt.Sprintf("%s/%s/%s", f.scene.name, f.do, f.point), func(t *testing.T) {
				t.Parallel()
				disturbed(t, f)
			})
		}
	})
}

// A disk that is really full, and not by our word: /etc has so many KiB left.
func TestAFullDisk(t *testing.T) {
	t.Parallel()
	room := []int{12, 40, 0, 4, 8, 16, 20, 24, 28, 32, 36, 44, 48, 60, 80}
	room = some(t, 1, room)
	sc := scenes()[0]
	var ends string
	t.Run("room enough", func(t *testing.T) { _, _, ends = undisturbed(t, sc) })
	for _, kib := range room {
		t.Run(strconv.Itoa(kib)+" KiB", func(t *testing.T) {
			t.Parallel()
			sc := sc
			sc.host = fmt.Sprintf(`mkdir -m 755 /run/small; mount -t tmpfs -o size=64m,mode=755 tmpfs /run/small; cp -a /etc/. /run/small/
				mount --bind /run/small /etc
				dd if=/dev/zero of=/etc/fill bs=4k 2>/dev/null; truncate -s -%dk /etc/fill; df -k /etc | tail -1`, kib)
			r, others := stage(t, sc)
			v := r.change(sc)
			r.start()
			r.rest(sc, v, 0, true)
			last, _ := r.lastReport(0)
			t.Logf("%d problems, such as %.300q", len(last.Problems), strings.Join(last.Problems, "; "))
			r.end()
			r.othersEnter(others)
			r.complaints(true)
			r.sh("rm /etc/fill")
			r.again(sc, v)
			sc.after(r)
			r.othersEnter(others)
			r.complaints(false)
			r.stop()
			if diff := cmp.Diff(ends, r.fingerprint()); diff != "" {
				t.Errorf("with room again (-undisturbed +disturbed):\n%s", diff)
			}
		})
	}
}

// fault is one thing that goes wrong in a scene that ends as it does without.
type fault struct {
	scene scene
	point string
	do    faulttest.Effect
	ends  string
}

// effects are what is tried at each point where a file system could do it.
var effects = []faulttest.Effect{
	faulttest.Kill, faulttest.KillOne, faulttest.Orphan, faulttest.Fail("EIO"), faulttest.Fail("ENOSPC"), faulttest.FailOn("ENOSPC"), faulttest.FailOn("EIO"), faulttest.FailOn("EROFS"), faulttest.Fail("EDQUOT"),
}

// tally gathers what the undisturbed runs found.
type tally struct {
	mu     sync.Mutex
	faults []fault             // guarded by mu
	points map[string][]string // by scene; guarded by mu
}

func (y *tally) add(sc scene, points []string, ends string) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.points[sc.name] = points
	for _, p := range points {
		for _, e := range effects {
			if faulttest.Could(p, e) && (e != faulttest.KillOne && e != faulttest.Orphan || !strings.HasPrefix(p, filepath.Base(agentPath)+" ")) {
				y.faults = append(y.faults, fault{sc, p, e, ends})
			}
		}
	}
}

// choose gives all of them for a soak, and else a sample.
func (y *tally) choose(t *testing.T) (some []fault) {
	n := 0
	for _, p := range y.points {
		n += len(p)
	}
	slices.SortFunc(y.faults, func(a, b fault) int { return strings.Compare(a.String(), b.String()) })
	some = slices.Clone(y.faults)
	sample.Dice(t).Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
	only, soak, wanted := os.Getenv(faultEnv), os.Getenv(soakEnv), sampled
	some = slices.DeleteFunc(some, func(f fault) bool {
		return !strings.Contains(f.String(), only) || soak == "writes" && !f.atWrite()
	})
	switch number, err := strconv.Atoi(soak); {
	case err == nil:
		wanted = number
	case soak != "" || only != "":
		wanted = len(some)
	}
	some = some[:min(wanted, len(some))]
	t.Logf("%d points in %d scenes, %d faults, of which %d are tried", n, len(y.points), len(y.faults), len(some))
	return some
}

// atWrite tells the plain faults of the calls that change what a file says: a
// twelfth of all, which half an hour is enough for.
func (f fault) atWrite() bool {
	_, rest, _ := strings.Cut(f.point, " ")
	call, _, _ := strings.Cut(rest, " ")
	plain := []faulttest.Effect{faulttest.Kill, faulttest.Fail("EIO"), faulttest.Fail("ENOSPC")}
	return (call == "write" || call == "rename") && slices.Contains(plain, f.do)
}

func (f fault) String() string { return f.scene.name + "/" + string(f.do) + "/" + f.point }

// stage makes a rig whose host stands before the change, with two who are not
// Cardea's: root, and an administrator with a key of his own.
func stage(t *testing.T, sc scene) (r *rig, others []person) {
	r = newRig(t)
	root, boss := r.person("root", false), r.person("boss", false)
	r.write("/root/.ssh/authorized_keys", root.public(r), 0o600)
	r.sh("useradd -m -s /bin/sh -p '*' boss; usermod -aG sudo boss")
	r.write("/home/boss/.ssh/authorized_keys", boss.public(r), 0o600)
	r.write("/etc/sudoers.d/10-local", "boss ALL=(ALL:ALL) NOPASSWD: ALL\n", 0o440)
	r.sh("chown -R boss: /home/boss; " + cmpOr(sc.host, "true"))
	r.sshd()
	if sc.was != nil {
		v := r.p.set(sc.was)
		r.start(sc.env...)
		r.p.confirmed(v)
		r.stop()
	}
	return r, []person{root, boss}
}

func cmpOr(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

// change makes the next state that of the scene.
func (r *rig) change(sc scene) (v api.StateVersion) {
	switch {
	case sc.verb != nil:
		return v
	case sc.becomes == nil:
		return r.p.set(func(d *api.DesiredState) {
			r.p.userCA = newSigner(r.T)
			d.UserCAs = []string{sshcert.Line(r.p.userCA.PublicKey())}
		})
	}
	return r.p.set(sc.becomes)
}

// startUnder starts the agent, or its verb, under a plan.
func (r *rig) startUnder(sc scene, plan faulttest.Plan) {
	r.Helper()
	plan.Log = faultLog
	args := append([]string{"CARDEA_TEST_AGENT=1", buildtest.RaceOptions + " halt_on_error=1"}, plan.Env()...)
	args = append(append(args, sc.env...), agentPath, agentPath)
	if sc.verb == nil {
		args = append(args, "run")
	}
	p, err := r.h.Start(context.Background(), "/usr/bin/env", append(args, sc.verb...)...)
	if err != nil {
		r.Fatal(err)
	}
	r.agent = p
}

// rest waits until the agent is done with the change or gives up: it ended, has
// the state in force, or says that something is wrong.
func (r *rig) rest(sc scene, v api.StateVersion, reports int, stays bool) {
	r.Helper()
	r.eventually("the agent is done or dies", func() bool {
		select {
		case <-r.agent.Done():
			return true
		default:
		}
		if n := strings.Count(r.agent.Log(), "not enrolled yet"); n > 2 || stays && n > 0 {
			return true // it tries for ever
		}
		last, said := r.lastReport(reports)
		return said && (len(last.Problems) > 0 || v != api.StateVersion{} && last.Confirmed == v && (sc.settled == nil || sc.settled(r)))
	})
}

// lastReport is the last one, if there are more than some.
func (r *rig) lastReport(some int) (last api.AgentReport, said bool) {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	if len(r.p.reports) > some {
		return r.p.reports[len(r.p.reports)-1], true
	}
	return last, false
}

func (r *rig) reportCount() int {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	return len(r.p.reports)
}

// undisturbed makes the change of a scene, and returns its points and what the
// host is like in the end.
func undisturbed(t *testing.T, sc scene) (_ scene, points []string, ends string) {
	r, others := stage(t, sc)
	v := r.change(sc)
	r.startUnder(sc, faulttest.Plan{})
	if sc.verb == nil {
		r.p.confirmed(v)
		r.settle(sc)
		r.end()
	} else if err := r.agent.Wait(); err != nil {
		t.Fatalf("%v: %s", err, r.agent.Log())
	}
	log, err := r.h.ReadFile(faultLog)
	if err != nil {
		if strings.Contains(r.agent.Log(), "seccomp") {
			t.Skipf("SKIPPED: %s", r.agent.Log())
		}
		t.Fatal(err)
	}
	points, bad := faulttest.Read(string(log))
	for _, b := range bad {
		t.Error(b)
	}
	if len(points) < 10 {
		t.Errorf("there are only these points:\n%s", log)
	}
	t.Logf("%d points", len(points))
	for _, text := range undurable(points) {
		t.Error(text)
	}
	sc.after(r)
	r.othersEnter(others)
	r.complaints(false)
	r.stop()
	return sc, points, r.fingerprint()
}

// agentPoint takes a point of the agent's own apart: call, folder and name.
var agentPoint = regexp.MustCompile(`^` + regexp.QuoteMeta(filepath.Base(agentPath)) + ` (\w+) "(.*)/([^/]*)" [0-9]+$`)

// undurable lists files of the agent's that the power could take: a new file is
// synced before it takes its name, and the folder after that, or the kernel may
// keep the one and lose the other. Homes are left out, of which no file is newer
// than the account.
func undurable(points []string) (bad []string) {
	// Several files may be on their way that differ only in their numbers.
	synced, open := map[string]int{}, map[string]string{}
	for _, p := range points {
		m := agentPoint.FindStringSubmatch(p)
		if m == nil || strings.HasPrefix(m[2], "/home") {
			continue
		}
		path := m[2] + "/" + m[3]
		switch m[1] {
		case "fsync":
			synced[path]++
			delete(open, path)
		case "rename":
			temp := m[2] + "/." + m[3] + ".cardea-tmp.*"
			if strings.HasSuffix(m[3], ".tar.gz") {
				temp = m[2] + "/.cardea-archive-#"
			}
			if synced[temp]--; synced[temp] < 0 {
				bad = append(bad, temp+" is not synced before "+p)
			}
			open[m[2]] = p
		case "unlink":
			delete(open, path) // a folder that is gone needs no care
			if !strings.Contains(m[3], ".cardea-tmp.") && !strings.HasSuffix(m[3], ".lock") && path != DefaultStateDir {
				open[m[2]] = p
			}
		}
	}
	for dir, p := range open {
		bad = append(bad, dir+" is not synced after "+p)
	}
	return bad
}

// end ends the agent, however it is.
func (r *rig) end() {
	r.Helper()
	if err := r.agent.Stop(10 * time.Second); err != nil {
		r.Logf("the agent's end: %v", err)
	}
}

// disturbed makes the change with a fault, looks at the host, and lets the next
// run finish it.
func disturbed(t *testing.T, f fault) {
	r, others := stage(t, f.scene)
	old := r.watched()
	v := r.change(f.scene)
	reports := r.reportCount()
	r.startUnder(f.scene, faulttest.Plan{At: f.point, Do: f.do})
	r.rest(f.scene, v, reports, strings.HasSuffix(string(f.do), "+"))
	r.end()
	said := r.agent.Log()
	r.agent = nil
	log, err := r.h.ReadFile(faultLog)
	if err != nil {
		t.Fatal(err)
	}
	points, bad := faulttest.Read(string(log))
	if !slices.Contains(points, f.point) {
		t.Logf("the point was not reached this time")
	}
	for _, b := range bad {
		t.Error(b)
	}
	mid := r.watched()
	r.othersEnter(others)
	r.complaints(true)

	r.again(f.scene, v)
	f.scene.after(r)
	r.othersEnter(others)
	r.complaints(false)
	r.stop()
	for _, text := range neither(old, mid, r.watched()) {
		t.Error(text)
	}
	if diff := cmp.Diff(f.ends, r.fingerprint()); diff != "" {
		t.Errorf("after the next run (-undisturbed +disturbed):\n%s", diff)
	}
	if t.Failed() {
		t.Logf("the agent that was disturbed said:\n%s\nits points:\n%s", said, log)
	}
}

// again runs the agent, or its verb, without a fault until the change is made.
func (r *rig) again(sc scene, v api.StateVersion) {
	r.Helper()
	if sc.verb != nil {
		if out, err := r.unenroll(sc.verb[1:]...); err != nil {
			r.Errorf("%v again: %v\n%s", sc.verb, err, out)
		}
		return
	}
	if r.sh("ls /var/lib/cardea-server-agent/credential.json 2>/dev/null || true") == "" {
		r.p.mu.Lock() // the credential was lost on its way: the administrator makes another token
		r.p.enrolled = 0
		r.p.mu.Unlock()
		r.write("/var/lib/cardea-server-agent/enrollment.token", r.p.secret+"\n", 0o600)
	}
	// The one before may have said that the state is in force, but for what went wrong.
	reports := r.reportCount()
	r.start(sc.env...)
	r.eventually("the next run has mended it", func() bool {
		last, said := r.lastReport(reports)
		return said && last.Confirmed == v && len(last.Problems) == 0
	})
	r.settle(sc)
}

func (r *rig) settle(sc scene) {
	r.Helper()
	r.eventually("the change is made", func() bool { return sc.settled == nil || sc.settled(r) })
}

// othersEnter makes sure that those can who could before Cardea came.
func (r *rig) othersEnter(others []person) {
	r.Helper()
	for _, who := range others {
		if out, err := r.ssh(who, true, "sudo", "-n", "id", "-un").CombinedOutput(); err != nil || string(out) != "root\n" {
			seen, _ := r.h.Run(r.Context(), "/usr/bin/tail", "-n", "5", "/var/log/auth.log")
			r.Errorf("%s cannot enter: %v: %s\n%s", who.login, err, out, seen)
		}
	}
	if out, err := r.h.Run(r.Context(), "/bin/sh", "-c", "visudo -c >/dev/null && /usr/sbin/sshd -t"); err != nil {
		r.Errorf("the host: %v: %s", err, out)
	}
}

// oursComplaint is what pwck and grpck say of a name that is Cardea's.
var oursComplaint = regexp.MustCompile(`'?(alice|carol|ops|cardea-managed|cardea-canary)\b`)

// complaints are what shadow-utils find wrong with the account files. half allows
// that of our own accounts a second file was not reached: useradd writes one
// after the other.
func (r *rig) complaints(half bool) {
	r.Helper()
	for l := range strings.Lines(r.sh("pwck -qr 2>&1; grpck -r 2>&1; true")) {
		if strings.Contains(l, "no changes") || strings.HasPrefix(l, "no matching") || half && oursComplaint.MatchString(l) {
			continue
		}
		r.Errorf("the account files: %s", l)
	}
}

// fingerprint is what the same changes give on every host, in whatever order
// they came: no times, no keys.
func (r *rig) fingerprint() string {
	r.Helper()
	return inOrder(r.sh("getent passwd"), r.sh("cut -d: -f1,2,8 /etc/shadow"), r.sh("cat /etc/group"), r.sh("cat /etc/gshadow")) + r.sh(`cd /etc; stat -c "%n %a %u:%g" passwd group shadow gshadow
		# What shadow-utils leave when they are killed is theirs, and taken over by the next of them.
		ls -A . | grep -v -E '^(passwd|group|shadow|gshadow|subuid|subgid)(-|\+|\.lock|\.[0-9]+)$'
		find /home /etc/sudoers.d /etc/ssh -printf '%p %y %m %U:%G\n' | LC_ALL=C sort
		for f in /etc/sudoers.d/* /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*; do echo "$f"; cat "$f" 2>/dev/null; done
		ls -A /var/lib/cardea-server-agent; cat /var/lib/cardea-server-agent/accounts.json 2>/dev/null; true`)
}

// inOrder sorts the lines of account files, and the people of each group.
func inOrder(files ...string) string {
	var b strings.Builder
	for i, text := range files {
		lines := strings.Split(strings.TrimSpace(text), "\n")
		for j, l := range lines {
			at := strings.LastIndex(l, ":") + 1
			if members := strings.Split(l[at:], ","); i > 1 {
				slices.Sort(members)
				lines[j] = l[:at] + strings.Join(members, ",")
			}
		}
		slices.Sort(lines)
		b.WriteString(strings.Join(lines, "\n") + "\n")
	}
	return b.String()
}

// watched are the files that must at every instant be wholly old or wholly new,
// by path; what the agent has in its own folder as well.
func (r *rig) watched() map[string]string {
	r.Helper()
	files := map[string]string{}
	out := r.sh(`for f in $(find /etc/passwd /etc/group /etc/shadow /etc/gshadow /etc/sudoers /etc/sudoers.d /etc/ssh /var/lib/cardea-server-agent -type f); do
		printf '%s %s\n' "$f" "$(base64 -w0 <"$f")"; done`)
	for l := range strings.Lines(out) {
		path, text, _ := strings.Cut(strings.TrimSpace(l), " ")
		files[path] = text
	}
	return files
}

// neither lists files that in the middle were neither as before nor as after.
func neither(old, mid, end map[string]string) (bad []string) {
	for path, text := range mid {
		before, was := old[path]
		after, is := end[path]
		base := filepath.Base(path)
		switch {
		case was && text == before, is && text == after:
		case strings.HasPrefix(base, "."):
			// Half a file beside its place, which nobody reads. The next run removes it.
		case !was && !is && (base == "sudoers.check" || strings.Contains(path, "/revoked-check/")):
			// Made anew for each check.
		case slices.Contains([]string{"/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow"}, path):
			bad = append(bad, neitherLines(path, decode(before), decode(text), decode(after))...)
		case strings.HasSuffix(path, "-cert.pub") && strings.HasPrefix(decode(text), "ssh-ed25519-cert-v01@openssh.com "):
		case strings.HasPrefix(path, DefaultStateDir+"/"):
			// What these hold is different each time. None of them may be empty.
			if text == "" && base != lockFile {
				bad = append(bad, path+" is empty")
			}
		default:
			bad = append(bad, fmt.Sprintf("%s is neither old nor new:\nold %q\nmid %q\nnew %q", path, decode(before), decode(text), decode(after)))
		}
	}
	for path := range old {
		_, there := mid[path]
		if strings.HasPrefix(path, "/etc/sudoers.d/50-cardea-") {
			continue // new rules could not be put in place, and the old ones did not stay
		}
		if _, stays := end[path]; stays && !there {
			bad = append(bad, path+" was away")
		}
	}
	return bad
}

func decode(text string) string {
	var b bytes.Buffer
	cmd := exec.Command("/usr/bin/base64", "-d")
	cmd.Stdin, cmd.Stdout = strings.NewReader(text), &b
	cmd.Run()
	return b.String()
}

// neitherLines is for files in which one account comes after the other: each
// line is old or new, but for groups, whose members come one by one.
func neitherLines(path, before, text, after string) (bad []string) {
	known := map[string]bool{}
	for _, l := range append(strings.Split(before, "\n"), strings.Split(after, "\n")...) {
		known[l] = true
		if f := strings.Split(l, ":"); len(f) == 9 { // an account that expires before it is removed
			f[7] = "1"
			known[strings.Join(f, ":")] = true
		}
		if strings.HasSuffix(path, "group") || strings.HasSuffix(path, "gshadow") {
			known[l[:strings.LastIndex(l, ":")+1]] = true
		}
	}
	for _, l := range strings.Split(text, "\n") {
		if !known[l] && !(strings.HasSuffix(path, "group") || strings.HasSuffix(path, "gshadow")) || !known[l] && !known[l[:strings.LastIndex(l, ":")+1]] {
			bad = append(bad, fmt.Sprintf("%s has a line that is neither old nor new: %q", path, l))
		}
	}
	for _, l := range strings.Split(before, "\n") {
		if strings.Contains(after, l+"\n") && !strings.Contains(text, l+"\n") && l != "" {
			bad = append(bad, fmt.Sprintf("%s lost the line %q", path, l))
		}
	}
	return bad
}

// soundHost is the probe, which the supervisor asks inside the host.
func soundHost(path string) error {
	run := func(argv ...string) error {
		cmd := exec.Command(argv[0], argv[1:]...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", argv[0], err, out)
		}
		return nil
	}
	switch {
	case strings.HasPrefix(path, "/etc/sudoers"):
		return run("/usr/sbin/visudo", "-c")
	case strings.HasPrefix(path, "/etc/ssh/"):
		return run("/usr/sbin/sshd", "-t")
	case strings.HasPrefix(path, "/etc/"):
		var errs []error
		for file, fields := range map[string]int{"passwd": 7, "group": 4, "shadow": 9, "gshadow": 4} {
			raw, err := os.ReadFile("/etc/" + file)
			if err != nil || !bytes.HasPrefix(raw, []byte("root:")) || !bytes.HasSuffix(raw, []byte("\n")) {
				errs = append(errs, fmt.Errorf("/etc/%s: %v, %d bytes", file, err, len(raw)))
				continue
			}
			for l := range strings.Lines(string(raw)) {
				if n := strings.Count(l, ":") + 1; n != fields {
					errs = append(errs, fmt.Errorf("/etc/%s: a line of %s fields", file, strconv.Itoa(n)))
				}
			}
		}
		return errors.Join(errs...)
	}
	return nil
}
