package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/agent"
	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/demo/stage"
)

// Who and what stands on the ground.
const (
	project, server = "web", "web-1"
	// plainAccount is one of the server's own, which Cardea does not manage and
	// a key in its home opens.
	plainAccount = "plain"
	// ownAccount is what plain ssh's configuration calls the server with that account.
	ownAccount = "own-account"
)

// ground is a team on this machine, with what plain ssh needs beside it.
type ground struct {
	*stage.Stage
	hosts *stage.Local
	dir   string
	bin   string
	alice *stage.Person

	plainKey  string    // public line of the key that plain ssh uses
	certified time.Time // when it got its certificate
	records   bool      // the project's sessions are recorded
	cardeas   []*way    // those that go through the gateway
}

// raise builds a team with one server in a fresh folder below dir. An empty
// database is SQLite.
func raise(ctx context.Context, bin, dir, database string, change ...func(*stage.Options)) (g *ground, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	g = &ground{dir: dir, bin: bin, hosts: &stage.Local{Agent: filepath.Join(bin, "cardea-server-agent")}}
	opt := stage.Options{Bin: bin, Dir: dir, Database: database, Gateways: 1, Servers: g.hosts, Browser: self + " " + asBrowser}
	for _, c := range change {
		c(&opt)
	}
	g.Stage, err = stage.New(ctx, opt)
	if err != nil {
		return nil, err
	}
	if err := g.populate(ctx); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

func (g *ground) populate(ctx context.Context) (err error) {
	if err := g.AddProject(ctx, project, api.ProjectSettings{CertificateSeconds: 180, Gateway: "required"}); err != nil {
		return err
	}
	if g.alice, err = g.AddUser(ctx, "alice"); err != nil {
		return err
	}
	if err := g.Access(ctx, project, "engineers", "user", "alice"); err != nil {
		return err
	}
	if err := g.AddServer(ctx, project, server, nil); err != nil {
		return err
	}
	return g.alice.SignIn(ctx)
}

// agentPID is alice's local agent.
func (g *ground) agentPID(ctx context.Context) (int, error) {
	c := agent.Control{Paths: agent.Paths{Run: filepath.Join(g.alice.Home, "run/cardea")}}
	pid, ok := c.Running(ctx)
	if !ok {
		return 0, errors.New("alice's local agent does not run")
	}
	return pid, nil
}

// warm connects once by each way, so that nothing is measured for the first
// time, and waits until the server has alice's account.
func (g *ground) warm(ctx context.Context, ways []*way) error {
	for _, w := range ways {
		var err error
		for range 20 {
			if _, err = w.job(nil, "true").must(ctx); err == nil {
				break
			}
			time.Sleep(200 * time.Millisecond)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	return nil
}

// openSessions are those that gateways carry, as the control plane knows it;
// it hears of an end within a second or two.
func (g *ground) openSessions(ctx context.Context) (int, error) {
	n := 0
	for end := time.Now().Add(orphanTime); ; time.Sleep(100 * time.Millisecond) {
		all, err := api.All[api.GatewaySession](ctx, g.Client(), "/v1/gateway-sessions", map[string][]string{"live": {"true"}})
		if n = len(all); err != nil || n == 0 || time.Now().After(end) {
			return n, err
		}
	}
}

// plainAccess prepares what plain ssh needs, and returns the lines that lead there in a
// configuration of ssh: to server as alice, with a key and its certificate in files, and to
// ownAccount as an account that is the server's own, with the same key.
//
// Alice's account is the one to compare with. sshd answers each refused request, of which
// every login has two, after a time that it derives from the login's name (5 to 9.2 ms,
// doubled where that has passed: user_specific_delay in OpenSSH's auth2.c), so two accounts
// of one server differ by up to 20 ms in which nobody does anything.
func (g *ground) plainAccess(ctx context.Context) (lines []string, key string, err error) {
	host := g.hosts.Host(server)
	entry, err := host.Run(ctx, "getent", "passwd", "alice")
	if err != nil {
		return nil, "", err
	}
	shell := strings.TrimSpace(entry[strings.LastIndexByte(entry, ':')+1:])
	key = filepath.Join(g.dir, "plain-key")
	if g.plainKey, err = makeKey(key); err != nil {
		return nil, "", err
	}
	if _, err := host.Run(ctx, "/usr/sbin/useradd", "-m", "-p", "*", "-s", shell, plainAccount); err != nil {
		return nil, "", err
	}
	home := "/home/" + plainAccount
	if err := host.WriteFile(home+"/.ssh/authorized_keys", []byte(g.plainKey), 0o644); err != nil {
		return nil, "", err
	}
	hostKey, err := host.HostKey()
	if err != nil {
		return nil, "", err
	}
	known := filepath.Join(g.dir, "plain-known-hosts")
	if err := os.WriteFile(known, []byte(server+" "+hostKey+"\n"), 0o600); err != nil {
		return nil, "", err
	}
	there := []string{"HostName " + g.hosts.Addr(server).String(), "HostKeyAlias " + server, "IdentityFile " + key, "UserKnownHostsFile " + known}
	lines = append([]string{"Host " + server, "User alice", "CertificateFile " + key + "-cert.pub"}, there...)
	lines = append(lines, "Host "+ownAccount, "User "+plainAccount)
	return append(lines, there...), key, g.certify(ctx)
}

// certifyEvery is well within a certificate's life, as is certifyWhileRecorded: the
// longest there is, which recorded gives it.
const (
	certifyEvery         = time.Minute
	certifyWhileRecorded = 8 * time.Minute
)

// certify keeps the certificate of plain ssh's key fresh. Where sessions are recorded
// nobody gets one for the server itself, so that is off meanwhile.
func (g *ground) certify(ctx context.Context) error {
	if g.records {
		if time.Since(g.certified) < certifyWhileRecorded {
			return nil
		}
		g.certified = time.Time{}
		return g.record(ctx)
	}
	if time.Since(g.certified) < certifyEvery {
		return nil
	}
	client, err := g.alice.Client(ctx)
	if err != nil {
		return err
	}
	var got api.Connection
	if err := client.Send(ctx, "POST", "/v1/connect", api.Connect{Server: server, PublicKey: strings.TrimSpace(g.plainKey)}, &got); err != nil {
		return fmt.Errorf("a certificate for plain ssh: %w", err)
	}
	g.certified = time.Now()
	return os.WriteFile(filepath.Join(g.dir, "plain-key-cert.pub"), []byte(got.Certificate+"\n"), 0o600)
}

// person makes one more user who may enter the server, signed in.
func (g *ground) person(ctx context.Context, name string) (*stage.Person, error) {
	p, err := g.AddUser(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := g.Client().Send(ctx, "PUT", "/v1/groups/engineers/members/"+name, api.NewMember{}, nil); err != nil {
		return nil, err
	}
	_, err = p.Must(ctx, "cardea", "login", g.URL)
	return p, err
}

// environment is alice's, with which all ways run alike.
func (g *ground) environment() []string { return slices.Clone(g.alice.Env()) }
