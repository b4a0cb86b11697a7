package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// ansibleVariable is over how many servers ansible runs, each a real sshd with its own
// server agent, half as many at once: 50 take some five minutes. Without it there are
// ansibleSample.
const (
	ansibleVariable = "CARDEA_ANSIBLE"
	ansibleSample   = 2
)

// TestAnsibleRunsOverAllServersTwice: by plain OpenSSH and the generated configuration, through
// the gateway, once with a master connection for each server and once with one connection
// for each task; and no server fails, in either.
func TestAnsibleRunsOverAllServersTwice(t *testing.T) {
	needs(t)
	if _, err := exec.LookPath("ansible-playbook"); err != nil {
		t.Skip("SKIPPED: there is no ansible on this machine; type: make test, which installs it")
	}
	t.Parallel()
	count := ansibleSample
	if n, err := strconv.Atoi(os.Getenv(ansibleVariable)); err == nil {
		count = n
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(count)*15*time.Second+4*time.Minute)
	defer cancel()
	w := newWorld(t)
	words := []string{"gateways=1"}
	for i := range count {
		words = append(words, fmt.Sprint("web-", i+1))
	}
	w.raise(ctx, words...)
	alice := w.people["alice"]
	w.signIn(ctx, alice)
	for name, text := range map[string]string{
		"hosts":         strings.Join(w.servers, "\n") + "\n",
		"playbook.yaml": playbook,
	} {
		w.must(os.WriteFile(filepath.Join(alice.Home, name), []byte(text), 0o600))
	}
	for _, master := range []string{"auto", "no"} {
		cmd := w.command(ctx, alice, alice.Home, "ansible-playbook", "-i", "hosts", "-f", strconv.Itoa(max(count/2, 2)), "playbook.yaml")
		cmd.Env = append(cmd.Env, "ANSIBLE_NOCOLOR=1", "ANSIBLE_HOST_KEY_CHECKING=True", "ANSIBLE_LOCAL_TEMP="+filepath.Join(alice.Home, "tmp"),
			"ANSIBLE_SSH_CONTROL_PATH_DIR="+filepath.Join(alice.Home, "cm"), "ANSIBLE_PYTHON_INTERPRETER=/usr/bin/python3",
			"ANSIBLE_SSH_ARGS=-o ControlMaster="+master+" -o ControlPersist=10s")
		began := time.Now()
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("ControlMaster=%s: %v\n%s", master, err, tail(string(out)))
		}
		for _, server := range w.servers {
			if !recapOf(string(out), server) {
				t.Errorf("ControlMaster=%s: %s is not as it should be\n%s", master, server, tail(string(out)))
			}
		}
		t.Logf("%d servers, ControlMaster=%s: %s", count, master, time.Since(began).Round(100*time.Millisecond))
	}
}

// recapOf reports whether all tasks of a server went well, and none less than all.
func recapOf(out, server string) bool {
	_, recap, _ := strings.Cut(out, "PLAY RECAP")
	for line := range strings.Lines(recap) {
		fields := strings.Fields(line)
		if len(fields) > 5 && fields[0] == server {
			return fields[2] == "ok=4" && fields[4] == "unreachable=0" && fields[5] == "failed=0"
		}
	}
	return false
}

// playbook asks each server who it is, and brings a file there by sftp.
const playbook = `
- hosts: all
  gather_facts: false
  tasks:
  - ping:
  - command: hostname
    register: name
  - assert:
      that: name.stdout == inventory_hostname
  - copy:
      content: "{{ inventory_hostname }}"
      dest: by-ansible
`
