package serveragent

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/sshcert"
	"github.com/google/go-cmp/cmp"
)

// Whole results: all that is different in /etc from before the host met the
// agent, line by line. UPDATE=1 writes the files anew.
func TestAllOfEtcIsWhatItShallBe(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	root := r.person("root", false)
	r.write("/root/.ssh/authorized_keys", root.public(r), 0o600)
	r.sshd()
	before := r.etcFiles()
	golden := func(name string) {
		t.Helper()
		file := filepath.Join("testdata", "etc", name+".golden")
		got := r.normal(etcChanges(before, r.etcFiles()))
		if os.Getenv("UPDATE") != "" {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			return
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	v := r.p.set(func(d *api.DesiredState) {
		team(d)
		d.Sources = []string{"192.0.2.7", "2001:db8::/64"}
	})
	r.start()
	r.p.confirmed(v)
	golden("enrolled")
	r.p.confirmed(r.p.set(func(d *api.DesiredState) { d.Accounts[0] = alice("locked", true) }))
	golden("locked")
	r.p.confirmed(r.p.set(func(d *api.DesiredState) { d.Accounts[0] = removed("keep") }))
	r.eventually("alice is gone", func() bool { return r.sh("getent passwd alice || true") == "" })
	golden("removed")
	r.stop()
	if out, err := r.unenroll("lock"); err != nil {
		t.Fatal(err, out)
	}
	golden("unenrolled-lock")
	if out, err := r.unenroll("remove"); err != nil {
		t.Fatal(err, out)
	}
	golden("unenrolled-remove")
	r.rootMayEnter(root)
}

// etcFiles are the files of /etc, each as its attributes on one line and its
// text behind that.
func (r *rig) etcFiles() map[string]string {
	r.Helper()
	files := map[string]string{}
	// What shadow-utils keep of the last change is theirs.
	out := r.sh(`find /etc -xdev ! -name '*-' ! -name .pwd.lock -printf '%p\t%y %m %U:%G %l\n'`)
	for l := range strings.Lines(out) {
		path, attributes, _ := strings.Cut(strings.TrimRight(l, "\n"), "\t")
		files[path] = strings.TrimSpace(attributes) + "\n"
		if strings.HasPrefix(attributes, "f") && r.mayDiffer(path) {
			raw, err := r.h.ReadFile(path)
			if err != nil {
				r.Fatal(err)
			}
			files[path] += string(raw)
		}
	}
	return files
}

// mayDiffer leaves out the text of what the agent never writes; etc has a sum of
// all.
func (r *rig) mayDiffer(path string) bool {
	return strings.HasPrefix(path, "/etc/ssh/") || strings.HasPrefix(path, "/etc/sudoers") || !strings.Contains(path[len("/etc/"):], "/") && slices.Contains([]string{"passwd", "group", "shadow", "gshadow", "subuid", "subgid"}, filepath.Base(path))
}

// etcChanges tells what is there of one and not of the other.
func etcChanges(before, after map[string]string) string {
	var b strings.Builder
	for _, path := range slices.Sorted(maps.Keys(joinMaps(before, after))) {
		was, is := splitLines(before[path]), splitLines(after[path])
		if slices.Equal(was, is) {
			continue
		}
		fmt.Fprintf(&b, "== %s\n", path)
		for _, l := range was {
			if l != "" && !slices.Contains(is, l) {
				fmt.Fprintf(&b, "-%s\n", l)
			}
		}
		for _, l := range is {
			if !slices.Contains(was, l) {
				fmt.Fprintf(&b, "+%s\n", l)
			}
		}
	}
	return b.String()
}

func splitLines(text string) []string {
	return slices.Collect(strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n"))
}

func joinMaps(a, b map[string]string) map[string]string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// same are what is different on another day or another release of the system.
var same = []struct {
	was *regexp.Regexp
	is  string
}{
	{regexp.MustCompile(`expiry-time="[0-9]+"`), `expiry-time="TIME"`},
	{regexp.MustCompile(`restrict,from="[^"]*"`), `restrict,from="OWN-ADDRESSES"`},
	{regexp.MustCompile(`cardea-managed:x:[0-9]+:`), `cardea-managed:x:SYSTEM:`},
	{regexp.MustCompile(`cardea-canary:x:[0-9]+:[0-9]+:`), `cardea-canary:x:SYSTEM:SYSTEM:`},
	{regexp.MustCompile(`:DAY:[0-9]*:[0-9]*:[0-9]*:`), `:DAY:AGE:`},
	{regexp.MustCompile(`SSHKRL[^=]*`), "REVOCATION-LIST\n"},
}

// normal puts names in place of what is different in each run.
func (r *rig) normal(text string) string {
	r.Helper()
	cert := strings.TrimSpace(r.sh("cat /etc/ssh/cardea/ssh_host_ed25519_key-cert.pub 2>/dev/null || echo none"))
	text = strings.NewReplacer(cert, "HOST-CERTIFICATE", sshcert.Line(r.p.userCA.PublicKey()), "USER-CA", r.p.server, "SERVER",
		":"+strconv.FormatInt(time.Now().Unix()/86400, 10)+":", ":DAY:").Replace(text)
	for _, s := range same {
		text = s.was.ReplaceAllString(text, s.is)
	}
	return text
}
