package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/entitlement"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/internal/vhost"
	"github.com/cardea-ssh/cardea/sshcert"
)

const (
	// crowdFirst is the first uid and gid of the crowd.
	crowdFirst = 70000
	// crowdAgent and crowdPort are where the host has the agent's program and the way out.
	crowdAgent = "/usr/local/sbin/cardea-server-agent"
	crowdPort  = 7080
)

// crowd is one host and, in this process, a control plane that tells its agent one state. It
// answers as the real one does, so that what is measured is the agent's alone.
type crowd struct {
	network *vhost.Network
	host    *vhost.Host
	agent   *vhost.Process
	web     *http.Server

	state          []byte // the JSON of the api.SignedState
	policy         ed25519.PublicKey
	userCA, hostCA ssh.Signer
	server         string
	project        string

	mu       sync.Mutex
	told     time.Time // when the agent got the state
	next     int64     // event
	last     api.AgentReport
	reported chan struct{} // has one value when there is something new in last
}

// newCrowd makes a host that is to get so many people, with so many sudo commands each.
func newCrowd(ctx context.Context, program string, people, commands int) (c *crowd, err error) {
	c = &crowd{server: ident.New(ident.Server), project: ident.New(ident.Project), next: 1, reported: make(chan struct{}, 1)}
	if c.userCA, err = newCA(); err != nil {
		return nil, err
	}
	if c.hostCA, err = newCA(); err != nil {
		return nil, err
	}
	if err := c.sign(people, commands); err != nil {
		return nil, err
	}
	if c.network, err = vhost.NewNetwork(ctx, vhost.NetworkOptions{Private: true}); err != nil {
		return nil, err
	}
	if err := c.raise(ctx, program); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *crowd) raise(ctx context.Context, program string) error {
	l, err := c.network.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	c.web = &http.Server{Handler: c, ReadHeaderTimeout: time.Minute, BaseContext: func(net.Listener) context.Context { return ctx }}
	go c.web.Serve(l)
	c.host, err = c.network.NewHost(ctx, vhost.Options{
		Name: "crowd", Forwards: []vhost.Forward{{Port: crowdPort, To: l.Addr().String()}}, Binds: []vhost.Bind{{From: program, To: crowdAgent}},
	})
	if err != nil {
		return err
	}
	if err := c.host.StartSSHD(ctx); err != nil {
		return err
	}
	const folder = "/var/lib/cardea-server-agent"
	if _, err := c.host.Run(ctx, "/usr/bin/mkdir", "-p", "-m", "700", folder); err != nil {
		return err
	}
	if err := c.host.WriteFile(folder+"/enrollment.token", []byte("cardea_enr_bench\n"), 0o600); err != nil {
		return err
	}
	c.agent, err = c.host.Start(ctx, crowdAgent, "run", "--control-url", fmt.Sprintf("http://127.0.0.1:%d", crowdPort))
	return err
}

// Close removes the host.
func (c *crowd) Close() error {
	var errs []error
	if c.agent != nil {
		errs = append(errs, c.agent.Stop(10*time.Second))
	}
	if c.web != nil {
		errs = append(errs, c.web.Close())
	}
	return errors.Join(append(errs, c.network.Close())...)
}

// sign makes the state. No two people have a command in common, which is the worst case.
func (c *crowd) sign(people, commands int) error {
	d := api.DesiredState{
		Team: ident.New(ident.Team), Project: c.project, Server: c.server, Name: "crowd", Version: api.StateVersion{Epoch: 1, Counter: 1},
		IssuedAt: time.Now().UTC(), Complete: true, UserCAs: []string{sshcert.Line(c.userCA.PublicKey())}, HostCAs: []string{sshcert.Line(c.hostCA.PublicKey())}, PrincipalSeconds: 7 * 86400,
	}
	ops := api.AccountGroup{Group: ident.New(ident.UserGroup), Name: "ops", GID: crowdFirst - 1}
	for i := range people {
		a := api.Account{
			User: ident.New(ident.User), Login: "person" + strconv.Itoa(i), UID: crowdFirst + i, GID: crowdFirst + i,
			FullName: "Person " + strconv.Itoa(i), State: "active",
		}
		for k := range commands {
			a.Sudo = append(a.Sudo, entitlement.Command{
				Kind: entitlement.Executable, Path: fmt.Sprintf("/opt/service-%d/bin/tool-%d", i, k), Arguments: entitlement.ExactArguments,
				Exact: []string{"restart", "unit-" + strconv.Itoa(k) + ".service"},
			})
		}
		d.Accounts = append(d.Accounts, a)
		if i%2 == 0 {
			ops.Members = append(ops.Members, a.Login)
		}
	}
	d.Groups = []api.AccountGroup{ops}
	raw, err := json.Marshal(d)
	if err != nil {
		return err
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	c.policy = public
	c.state, err = json.Marshal(api.SignedState{State: raw, Signature: ed25519.Sign(private, append([]byte(api.StateDomain), raw...))})
	return err
}

func newCA() (ssh.Signer, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return ssh.NewSignerFromKey(private)
}

// ServeHTTP answers the calls of an agent. It looks at no proof: nobody else is on this network.
func (c *crowd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var out any
	var err error
	switch r.URL.Path {
	case "/v1/servers/enrol":
		out = api.EnrolledServer{Token: api.Token{AccessToken: "cardea_srv_bench", TokenType: "DPoP"}, Server: c.server, Name: "crowd", PolicyKey: c.policy}
	case "/v1/agent/state":
		c.serveState(w, r)
		return
	case "/v1/agent/report":
		err = c.takeReport(r)
	case "/v1/agent/events":
		out, err = c.takeEvents(r)
	case "/v1/agent/host-certificate", "/v1/agent/canary":
		out, err = c.certify(r)
	default:
		err = errors.New("no such call")
	}
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
	case out == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		json.NewEncoder(w).Encode(out)
	}
}

func (c *crowd) serveState(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("counter") == "0" {
		c.mu.Lock()
		if c.told.IsZero() {
			c.told = time.Now()
		}
		c.mu.Unlock()
		w.Write(c.state)
		return
	}
	wait, _ := strconv.Atoi(r.URL.Query().Get("wait"))
	select {
	case <-time.After(time.Duration(wait) * time.Second):
		w.WriteHeader(http.StatusNotModified)
	case <-r.Context().Done():
	}
}

func (c *crowd) takeReport(r *http.Request) error {
	var in api.AgentReport
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = in
	select {
	case c.reported <- struct{}{}:
	default:
	}
	return nil
}

func (c *crowd) takeEvents(r *http.Request) (any, error) {
	var in api.AgentEvents
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if end := in.First + int64(len(in.Events)); in.First <= c.next && end > c.next {
		c.next = end
	}
	return api.AgentEventsAnswer{Next: c.next}, nil
}

func (c *crowd) certify(r *http.Request) (any, error) {
	var in api.CanaryRequest
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return nil, err
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(in.PublicKey))
	if err != nil {
		return nil, err
	}
	cert, by := (*ssh.Certificate)(nil), c.hostCA
	if strings.HasSuffix(r.URL.Path, "canary") {
		by = c.userCA
		cert, err = sshcert.BuildCanary(sshcert.Canary{ServerID: c.server, ProjectID: c.project, Serial: sshcert.NewSerial(), Issued: time.Now()}, key)
	} else {
		cert, err = sshcert.BuildHost(sshcert.Host{ServerID: c.server, Serial: sshcert.NewSerial(), Issued: time.Now()}, key)
	}
	if err != nil {
		return nil, err
	}
	if err := cert.SignCert(rand.Reader, by); err != nil {
		return nil, err
	}
	return api.HostCertificate{
		Certificate: sshcert.Line(cert), Serial: strconv.FormatUint(cert.Serial, 10),
		ExpiresAt: time.Unix(int64(cert.ValidBefore), 0).UTC(),
	}, nil
}

// confirmed waits until the agent says that the state is in force, without a problem.
func (c *crowd) confirmed(ctx context.Context) (took time.Duration, err error) {
	for {
		select {
		case <-c.reported:
		case <-c.agent.Done():
			return 0, fmt.Errorf("the agent ended: %s", tail(c.agent.Log()))
		case <-ctx.Done():
			return 0, fmt.Errorf("the state never came into force: %w: %s", ctx.Err(), tail(c.agent.Log()))
		}
		c.mu.Lock()
		last, told := c.last, c.told
		c.mu.Unlock()
		if len(last.Problems) > 0 && !told.IsZero() {
			return 0, fmt.Errorf("the agent reports: %s", strings.Join(last.Problems[:min(len(last.Problems), 3)], "; "))
		}
		if last.Confirmed.Counter == 1 {
			return time.Since(told), nil
		}
	}
}

// tail is the end of a log.
func tail(s string) string { return s[max(0, len(s)-1000):] }
