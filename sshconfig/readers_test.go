package sshconfig

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kevinburke/ssh_config"

	"github.com/cardea-ssh/cardea/internal/buildtest"
	"github.com/cardea-ssh/cardea/internal/sshtest"
)

// homes are those of people whose names are not "alice". What ssh, a shell or a parser
// could take for more than a letter is in one of them.
var homes = []string{"alice", "with blank", "it's mine", "50%", "Zoë 家", "al~ice", "a;b&c(d)#e=f"}

// openSSH names the reader that is a program of the system.
const openSSH = "OpenSSH"

// known is what a reader makes of one file.
type known struct {
	Listed []string                     `json:"listed"`
	Hosts  map[string]map[string]string `json:"hosts"`
}

// misread are the characters in a path that a reader takes for something else, whatever we
// write; docs/ide.md tells it to people. All but # are about the path of the program alone.
var misread = map[string]string{
	"kevinburke": "#",  // 1.6.0: begins a comment also within quotes
	"paramiko":   "%~", // 2.12: keeps %% in commands, and has the home in the place of each ~
}

// mistaken reports whether reader is known to get key wrong in file.
func mistaken(reader, file, key string) bool {
	name, _, _ := strings.Cut(reader, " ")
	at := strings.IndexAny(file, misread[name])
	return at >= 0 && (key == "proxycommand" || file[at] == '#' && (key == "identityagent" || key == "userknownhostsfile"))
}

// laptop writes what a person has in a home: the user's own configuration, with our line in
// it and blocks of other hosts, and ours.
func laptop(t *testing.T, home, include string) (file string, v Values) {
	t.Helper()
	v = values(host("web-1", "web-1.web"), host("db-1"))
	v.Hosts[1].Login = "alice2"
	v.Binary = filepath.Join(home, ".local/bin/cardea")
	v.AgentSocket = filepath.Join(home, ".local/state/cardea/run/agent.sock")
	v.KnownHosts = filepath.Join(home, ".ssh/cardea/known_hosts")
	ours, err := Config(v)
	if err != nil {
		t.Fatal(err)
	}
	own := "Host build\n\tHostName 192.0.2.7\n\tUser me\n\nHost web-* !web-1\n\tUser other\n\nHost *\n\tServerAliveInterval 60\n\tUser nobody\n\tIdentityFile ~/.ssh/id_ed25519\n"
	text := append(slices.Clone(ours), own...) // as if included, where no Include reads the same everywhere
	if !strings.Contains(home, "%") {
		if text, _, err = Include([]byte(own), include); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(home, ".ssh/cardea"), 0o700); err != nil {
		t.Fatal(err)
	}
	sshtest.WriteFile(t, filepath.Join(home, ".ssh/cardea"), "config", string(ours))
	return sshtest.WriteFile(t, filepath.Join(home, ".ssh"), "config", string(text)), v
}

// answers are what every reader has to say of the laptop. Per cent signs are doubled in the
// file, as OpenSSH wants them in paths, and OpenSSH alone makes one of two.
func answers(v Values, reader string) map[string]map[string]string {
	double := func(s string) string {
		if reader == openSSH {
			return s
		}
		return strings.ReplaceAll(s, "%", "%%")
	}
	all := map[string]map[string]string{"build": {"hostname": "192.0.2.7", "user": "me", "proxycommand": "", "hostkeyalias": ""}}
	for _, h := range v.Hosts {
		for _, name := range h.Names {
			all[name] = map[string]string{
				"hostname": h.Names[0], "user": h.Login, "hostkeyalias": h.HostKeyAlias, "port": "22",
				"proxycommand":  strings.ReplaceAll(v.Binary, "%", "%%") + "|proxycommand|%h|%p",
				"identityagent": double(v.AgentSocket), "userknownhostsfile": double(v.KnownHosts),
			}
		}
	}
	return all
}

// TestEveryReaderMakesTheSameOfTheConfiguration is about those whose answer is looked at by
// others than ssh: editors list hosts with parsers of their own.
func TestEveryReaderMakesTheSameOfTheConfiguration(t *testing.T) {
	folder := t.TempDir()
	wanted := map[string]Values{}
	var files []string
	for _, name := range homes {
		home := filepath.Join(folder, name)
		file, v := laptop(t, home, filepath.Join(home, ".ssh/cardea/config"))
		wanted[file], files = v, append(files, file)
	}
	hosts := []string{"build", "db-1", "web-1", "web-1.web"}
	for _, read := range []func(t *testing.T, hosts, files []string) map[string]map[string]known{readBySSH, readByGo, readByJavaScript, readByPython} {
		for reader, of := range read(t, hosts, files) {
			t.Run(reader, func(t *testing.T) {
				for _, file := range files {
					compare(t, reader, file, of[file], wanted[file], hosts)
				}
			})
		}
	}
}

func compare(t *testing.T, reader, file string, got known, v Values, hosts []string) {
	t.Helper()
	if slices.Sort(got.Listed); got.Listed != nil && !slices.Equal(got.Listed, hosts) {
		t.Errorf("%s: it lists %q", file, got.Listed)
	}
	for host, want := range answers(v, reader) {
		if host == "build" && got.Hosts[host]["hostname"] == "" && strings.HasPrefix(reader, "kevinburke") {
			continue // read without the user's own file
		}
		for key, value := range want {
			if mistaken(reader, file, key) {
				continue
			}
			said := got.Hosts[host][key]
			if key == "proxycommand" {
				said = strings.Join(words(said), "|")
				if strings.HasPrefix(reader, "paramiko") {
					value = strings.NewReplacer("%h", want["hostname"], "%p", "22", "%%", "%").Replace(value)
				}
			}
			if said != value {
				t.Errorf("%s: %s of %s is %q, want %q", file, key, host, said, value)
			}
		}
	}
}

// words splits a command as a shell does, as far as ours have anything to split.
func words(command string) (out []string) {
	for i, part := range strings.Split(command, `"`) {
		if i%2 == 1 {
			out = append(out, part)
		} else {
			out = append(out, strings.Fields(part)...)
		}
	}
	return out
}

// readBySSH stands also for JetBrains, whose editors ask "ssh -G".
func readBySSH(t *testing.T, hosts, files []string) map[string]map[string]known {
	of := map[string]known{}
	for _, file := range files {
		k := known{Hosts: map[string]map[string]string{}}
		for _, host := range hosts {
			k.Hosts[host] = effective(t, file, host)
		}
		of[file] = k
	}
	return map[string]map[string]known{openSSH: of}
}

func readByGo(t *testing.T, hosts, files []string) map[string]map[string]known {
	of := map[string]known{}
	for _, file := range files {
		settings := &ssh_config.UserSettings{}
		settings.ConfigFinder(func() string {
			if strings.ContainsAny(file, " '#") {
				// It does not follow an Include in quotes. Ours has none where the user's home is
				// that of his account: it says ~/.ssh/cardea/config.
				return filepath.Join(filepath.Dir(file), "cardea", "config")
			}
			return file
		})
		k := known{Hosts: map[string]map[string]string{}}
		for _, host := range hosts {
			k.Hosts[host] = map[string]string{}
			for _, key := range []string{"HostName", "User", "Port", "ProxyCommand", "IdentityAgent", "UserKnownHostsFile", "HostKeyAlias"} {
				value, err := settings.GetStrict(host, key)
				if err != nil {
					t.Errorf("kevinburke/ssh_config: %s: %s: %v", file, key, err)
				}
				k.Hosts[host][strings.ToLower(key)] = value
			}
		}
		of[file] = k
	}
	return map[string]map[string]known{"kevinburke ssh_config": of}
}

func readByJavaScript(t *testing.T, hosts, files []string) map[string]map[string]known {
	folder, err := buildtest.Brought("readers", filepath.Join("testdata", "readers"), "package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	node, err := exec.LookPath("node")
	if _, missing := os.Stat(filepath.Join(folder, "node_modules", "ssh-config")); err != nil || missing != nil {
		return missed(t, fmt.Sprintf("no parsers of editors in %s; packaging/install-test-needs brings them", folder))
	}
	return reader(t, exec.Command(node, append(append([]string{filepath.Join("testdata", "readers", "read.mjs"), folder}, hosts...), append([]string{"--"}, files...)...)...))
}

func readByPython(t *testing.T, hosts, files []string) map[string]map[string]known {
	python := "/usr/bin/python3" // Debian's own, which has Debian's packages
	if exec.Command(python, "-c", "import paramiko").Run() != nil {
		return missed(t, "no paramiko on this machine; packaging/install-test-needs brings it")
	}
	return reader(t, exec.Command(python, append(append([]string{filepath.Join("testdata", "readers", "read.py")}, hosts...), append([]string{"--"}, files...)...)...))
}

// missed says loudly that a reader was not tried, and lets the others be.
func missed(t *testing.T, why string) map[string]map[string]known {
	t.Run("missing", func(t *testing.T) { t.Skip("SKIPPED: " + why) })
	return nil
}

// reader runs a program that prints what it reads.
func reader(t *testing.T, cmd *exec.Cmd) (out map[string]map[string]known) {
	t.Helper()
	var errs strings.Builder
	cmd.Stderr = &errs
	text, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, &errs)
	}
	return out
}
