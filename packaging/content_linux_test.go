package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/internal/buildtest"
)

// need skips the test where a program is not there; `make test` installs them.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("SKIPPED: this machine has no %s; type: make test, which installs it", p)
		}
	}
}

// said is what a command writes to stdout; it has to succeed.
func said(t *testing.T, name string, args ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v: %s%s", name, args, err, out, stderr.Bytes())
	}
	return string(out)
}

// packageFile is a package in a format.
func packageFile(t *testing.T, folder, name, format string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(files, folder, name+`[_\-]*.`+format))
	if err != nil || len(found) != 1 {
		t.Fatalf("the packages in %s/%s are %q: %v", files, folder, found, err)
	}
	return found[0]
}

// Most of what makes the program fit for any host: it needs no library of it. With the
// race detector it needs one, and TestTheServerAgentIsStaticAndSmall of the house builds
// it as it is released.
func TestTheProgramIsStaticAndTellsItsVersion(t *testing.T) {
	need(t, "dpkg-deb")
	dir := t.TempDir()
	said(t, "dpkg-deb", "-x", packageFile(t, "new", "cardea-server-agent", "deb"), dir)
	path := filepath.Join(dir, "usr/bin/cardea-server-agent")
	if !buildtest.Raced() {
		for _, complaint := range buildtest.Unfit(path) {
			t.Error(complaint)
		}
	}
	if out := said(t, path, "version"); !strings.Contains(out, "v"+newVersion) {
		t.Errorf("version: %q", out)
	}
}

// content is every path with its mode that a package of the server agent brings.
const content = `
0755 /etc/cardea/
0644 /etc/cardea/server-agent.yaml
0755 /usr/bin/cardea-server-agent
0755 /usr/lib/cardea-server-agent/
0755 /usr/lib/cardea-server-agent/hooks/
0755 /usr/lib/cardea-server-agent/hooks/user-created.d/
0755 /usr/lib/cardea-server-agent/hooks/user-deleted.d/
0644 /usr/lib/systemd/system/cardea-server-agent.service
0644 /usr/share/doc/cardea-server-agent/copyright
0644 /usr/share/doc/cardea-server-agent/rotation.md
0644 /usr/share/doc/cardea-server-agent/server-agent-accounts.md
0644 /usr/share/doc/cardea-server-agent/server-agent-changes.md
0644 /usr/share/doc/cardea-server-agent/server-agent-cloud.md
0644 /usr/share/doc/cardea-server-agent/server-agent-names.md
0644 /usr/share/doc/cardea-server-agent/server-agent.md
0644 /usr/share/man/man8/cardea-server-agent.8
0700 /var/lib/cardea-server-agent/
`

func TestThePackagesHoldWhatTheyShould(t *testing.T) {
	contents := map[string]string{"cardea-server-agent": content, "cardea-gateway": gatewayContent, "cardea-control": controlContent}
	lists := map[string]func(*testing.T, string) []string{"deb": listDeb, "rpm": listRPM, "apk": listAPK}
	for name, want := range contents {
		apk := strings.Replace(want, "0644 /usr/lib/systemd/system/"+name+".service\n", "", 1)
		apk = strings.Replace(apk, "0755 /usr/bin", "0755 /etc/init.d/"+name+"\n0755 /usr/bin", 1)
		for format, list := range lists {
			t.Run(name+"/"+format, func(t *testing.T) {
				if format == "apk" {
					holds(t, list(t, packageFile(t, "new", name, format)), apk)
					return
				}
				holds(t, list(t, packageFile(t, "new", name, format)), want)
			})
		}
	}
}

// clientContent is what a deb of the client brings.
const clientContent = `
0755 /usr/bin/cardea
0644 /usr/lib/systemd/user/cardea-agent.service
0644 /usr/lib/systemd/user/cardea-agent.socket
0644 /usr/share/bash-completion/completions/cardea
0644 /usr/share/doc/cardea/README.md
0644 /usr/share/doc/cardea/copyright
0644 /usr/share/doc/cardea/local-agent.md
0644 /usr/share/fish/vendor_completions.d/cardea.fish
0644 /usr/share/zsh/vendor-completions/_cardea
`

// Debian's zsh looks into another folder than the others' does.
func TestTheClientsPackageBringsWhatATabNeeds(t *testing.T) {
	elsewhere := strings.Replace(clientContent, "vendor-completions/", "site-functions/", 1)
	bare := regexp.MustCompile("(?m)^.*/systemd/.*\n").ReplaceAllString(elsewhere, "") // Alpine has no systemd
	holds(t, listDeb(t, packageFile(t, "client", "cardea", "deb")), clientContent)
	holds(t, listRPM(t, packageFile(t, "client", "cardea", "rpm")), elsewhere)
	holds(t, listAPK(t, packageFile(t, "client", "cardea", "apk")), bare)
}

// holds compares what a package holds; not the folders above that every system has.
func holds(t *testing.T, list []string, want string) {
	t.Helper()
	var got []string
	for _, line := range list {
		if !strings.HasSuffix(line, "/") || strings.Contains(want, line+"\n") {
			got = append(got, line)
		}
	}
	slices.SortFunc(got, func(a, b string) int { return strings.Compare(a[5:], b[5:]) })
	if text := "\n" + strings.Join(got, "\n") + "\n"; text != want {
		t.Errorf("it holds:%swant:%s", text, want)
	}
}

// configurationOf is the configuration file that a package brings; "" for the client, which
// has none.
func configurationOf(file string) string {
	if strings.HasSuffix(filepath.Dir(file), "client") {
		return ""
	}
	for _, name := range []string{"gateway", "control"} {
		if strings.Contains(filepath.Base(file), name) {
			return "/etc/cardea/" + name + ".yaml\n"
		}
	}
	return "/etc/cardea/server-agent.yaml\n"
}

func listDeb(t *testing.T, file string) []string {
	need(t, "dpkg-deb", "tar")
	// A package without one has no list of them.
	if got, _ := exec.Command("dpkg-deb", "-I", file, "conffiles").Output(); string(got) != configurationOf(file) {
		t.Errorf("conffiles: %q", got)
	}
	data, err := exec.Command("dpkg-deb", "--fsys-tarfile", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	return listTar(t, bytes.NewReader(data), "tvf")
}

func listAPK(t *testing.T, file string) []string {
	need(t, "tar", "gzip")
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return listTar(t, f, "tzvf")
}

// listTar lists a tar archive; everything in it has to be root's.
func listTar(t *testing.T, from io.Reader, how string) (out []string) {
	cmd := exec.Command("tar", "--numeric-owner", "-"+how, "-")
	cmd.Stdin = from
	list, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(list)) {
		f := strings.Fields(line)
		if strings.HasPrefix(f[5], ".") && !strings.HasPrefix(f[5], "./") {
			continue // a script or the description of an apk
		}
		if f[1] != "0/0" && f[1] != "root/root" {
			t.Errorf("%s is not root's", line)
		}
		out = append(out, octal(f[0][1:])+" /"+strings.TrimPrefix(strings.TrimPrefix(f[5], "."), "/"))
	}
	return out
}

func octal(letters string) string {
	mode := 0
	for i, c := range letters {
		if c != '-' {
			mode |= 1 << (8 - i)
		}
	}
	return "0" + strconv.FormatInt(int64(mode), 8)
}

func listRPM(t *testing.T, file string) (out []string) {
	need(t, "rpm")
	if got := said(t, "rpm", "-qpc", file); got != configurationOf(file) {
		t.Errorf("configuration files: %q", got)
	}
	for line := range strings.Lines(said(t, "rpm", "-qp", "--qf", `[%{FILEMODES:octal} %{FILEUSERNAME} %{FILENAMES}\n]`, file)) {
		f := strings.Fields(line)
		if f[1] != "root" {
			t.Errorf("%s is not root's", line)
		}
		name := f[2]
		if len(f[0]) == 5 && f[0][0] == '4' { // a folder, by the type of stat(2)
			name += "/"
		}
		out = append(out, "0"+f[0][len(f[0])-3:]+" "+name)
	}
	return out
}

func TestTheScriptsAreWhatAnyShellRuns(t *testing.T) {
	need(t, "shellcheck", "dash")
	for _, dir := range []string{"deb", "rpm", "apk", "openrc"} {
		scripts, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(scripts) == 0 {
			t.Fatalf("%s: %q, %v", dir, scripts, err)
		}
		for _, s := range scripts {
			said(t, "dash", "-n", s)
			args := []string{"-s", "sh", s}
			if dir == "openrc" {
				args = append([]string{"-e", "SC2034"}, args...) // OpenRC reads the variables
			}
			said(t, "shellcheck", args...)
		}
	}
}

func TestTheUnitIsUnderstoodAndHardened(t *testing.T) {
	for unit, most := range map[string]float64{
		"cardea-server-agent.service": 4.5, // what is left is what it is for: root, every home, every process
		"cardea-gateway.service":      2.0,
		"cardea-control.service":      2.0,
	} {
		t.Run(unit, func(t *testing.T) { understood(t, unit, most) })
	}
}

func understood(t *testing.T, name string, most float64) {
	unit := "systemd/" + name
	need(t, "systemd-analyze")
	out, _ := exec.Command("systemd-analyze", "verify", "--man=no", unit).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, name) && !strings.Contains(line, "is not executable") { // it is not installed here
			t.Error(line)
		}
	}
	out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", unit).CombinedOutput()
	if err != nil {
		if strings.Contains(string(out), "unrecognized option") {
			t.Skip("SKIPPED: this systemd-analyze is too old to look at a file")
		}
		t.Fatalf("%v: %s", err, out)
	}
	m := regexp.MustCompile(`exposure level for ` + name + `: ([0-9.]+)`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("no level: %s", out)
	}
	if level, err := strconv.ParseFloat(string(m[1]), 64); err != nil || level > most {
		t.Errorf("exposure level %s", m[1])
	}
}

func TestTheManualPagesHaveEveryVerb(t *testing.T) {
	need(t, "dpkg-deb")
	for name, least := range map[string]int{"cardea-server-agent": 5, "cardea-gateway": 3, "cardea-control": 3} {
		page, err := os.ReadFile("man/" + name + ".8")
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		said(t, "dpkg-deb", "-x", packageFile(t, "new", name, "deb"), dir)
		help := said(t, filepath.Join(dir, "usr/bin", name), "--help")
		_, verbs, _ := strings.Cut(help, "Available Commands:\n")
		verbs, _, _ = strings.Cut(verbs, "\n\n")
		n := 0
		for line := range strings.Lines(verbs) {
			verb := strings.Fields(line)[0]
			known := regexp.MustCompile(`(?m)^\.BI? ` + verb + `( |$)`).Match(page)
			if n++; verb != "help" && verb != "completion" && !known {
				t.Errorf("the manual page of %s does not know %s", name, verb)
			}
		}
		if n < least {
			t.Errorf("verbs of %s not found in: %s", name, help)
		}
	}
}

func TestAMistakeInTheConfigurationIsFound(t *testing.T) {
	good, err := os.ReadFile("../goreleaser.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, old, new, want string }{
		{"a template of a value that there is not", "{{ .CommitDate }}", "{{ .Comit }}", "Comit"},
		{"a package of a program that is not built", "ids: [cardea-server-agent]\n    package_name", "ids: [cardea-agent]\n    package_name", "builds no cardea-agent"},
		{"a key that nfpm does not know", "section: admin", "sektion: admin", "sektion"},
		{"a file that there is not", "src: packaging/man/cardea-server-agent.8", "src: packaging/man/none.8", "none.8"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bad := strings.Replace(string(good), tc.old, tc.new, 1)
			if bad == string(good) {
				t.Fatalf("goreleaser.yaml has no %q", tc.old)
			}
			root := t.TempDir()
			if err := os.WriteFile(filepath.Join(root, "goreleaser.yaml"), []byte(bad), 0o600); err != nil {
				t.Fatal(err)
			}
			rel, err := readRelease(root, newVersion, "amd64")
			if err == nil {
				err = describe(t, rel)
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("err = %v, want one with %q", err, tc.want)
			}
		})
	}
}

// describe makes the package of a program that is a short text.
func describe(t *testing.T, rel release) error {
	packages, err := rel.named([]string{"cardea-server-agent"})
	if err != nil {
		return err
	}
	p := packages[0]
	for _, id := range p.ids() {
		if _, err := rel.build(id); err != nil {
			return err
		}
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		return err
	}
	text, err := p.nfpm(&maker{version: newVersion, arch: "amd64", quick: true}, map[string]string{"cardea-server-agent": program})
	if err != nil {
		return err
	}
	config := filepath.Join(dir, "nfpm.yaml")
	if err := os.WriteFile(config, text, 0o600); err != nil {
		return err
	}
	nfpm := filepath.Join(files, "nfpm")
	need(t, nfpm)
	cmd := exec.Command(nfpm, "package", "--config", config, "--packager", "deb", "--target", dir+"/")
	cmd.Dir = ".."
	return output(cmd)
}
