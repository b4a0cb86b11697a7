package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/internal/freeport"
)

// jump is an sshd for `ssh -J`, where a gateway would be: on a loopback port of
// this machine. It sees a /run of its own, so that nothing here changes.
type jump struct {
	cmd  *exec.Cmd
	port int
	log  string
	key  string // its public host key
}

// startJump starts one that lets this user in with the key whose public line
// is given.
func startJump(ctx context.Context, dir, authorized string) (*jump, error) {
	port, err := freeport.At("127.0.0.1")
	if err != nil {
		return nil, err
	}
	j := &jump{port: port, log: filepath.Join(dir, "jump.log")}
	hostKey := filepath.Join(dir, "jump-host-key")
	if j.key, err = makeKey(hostKey); err != nil {
		return nil, err
	}
	keys, conf := filepath.Join(dir, "jump-authorized"), filepath.Join(dir, "jump.conf")
	if err := os.WriteFile(keys, []byte(authorized), 0o600); err != nil {
		return nil, err
	}
	text := fmt.Sprintf("ListenAddress 127.0.0.1:%d\nHostKey %s\nAuthorizedKeysFile %s\nStrictModes no\nPidFile none\nUsePAM no\n"+
		"PermitRootLogin yes\nMaxStartups 500:100:500\nMaxSessions 100\nAllowTcpForwarding yes\n", port, hostKey, keys)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, err
	}
	const program = "/usr/sbin/sshd"
	script := `mount --make-rprivate / && mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd && exec "$@"`
	args := []string{"-c", script, "jump", program, "-D", "-f", conf, "-E", j.log}
	if exec.CommandContext(ctx, program, "-t", "-f", conf, "-o", "PerSourcePenalties=no").Run() == nil {
		args = append(args, "-o", "PerSourcePenalties=no") // since 9.8: all come from one address
	}
	j.cmd = exec.Command("/bin/sh", args...)
	j.cmd.Stderr = os.Stderr
	j.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := j.cmd.Start(); err != nil {
		return nil, err
	}
	if err := j.ready(ctx); err != nil {
		return nil, errors.Join(err, j.Close())
	}
	return j, nil
}

func (j *jump) ready(ctx context.Context) error {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", j.port))
		if err == nil {
			return conn.Close()
		}
	}
	text, _ := os.ReadFile(j.log) // for the error alone
	return fmt.Errorf("the jump host's sshd does not listen: %s", text)
}

// lines are those of a configuration of ssh that lead to it.
func (j *jump) lines(dir, key string) ([]string, error) {
	me, err := user.Current()
	if err != nil {
		return nil, err
	}
	known := filepath.Join(dir, "jump-known-hosts")
	if err := os.WriteFile(known, []byte("jump "+j.key), 0o600); err != nil {
		return nil, err
	}
	return []string{
		"Host jump", "HostName 127.0.0.1", fmt.Sprintf("Port %d", j.port), "HostKeyAlias jump", "User " + me.Username,
		"IdentityFile " + key, "UserKnownHostsFile " + known,
	}, nil
}

func (j *jump) Close() error {
	j.cmd.Process.Signal(syscall.SIGTERM)
	j.cmd.Wait() // says that it was ended by a signal
	return nil
}

// makeKey makes a key pair and returns the public line.
func makeKey(path string) (public string, err error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	block, err := ssh.MarshalPrivateKey(private, "bench")
	if err != nil {
		return "", err
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return "", err
	}
	public = string(ssh.MarshalAuthorizedKey(signer.PublicKey()))
	if err := os.WriteFile(path+".pub", []byte(public), 0o600); err != nil {
		return "", err
	}
	return public, os.WriteFile(path, pem.EncodeToMemory(block), 0o600)
}
