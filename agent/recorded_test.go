package agent

import (
	"crypto/rand"
	"slices"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/internal/sshtest"
	"github.com/cardea-ssh/cardea/sshcert"
	"github.com/cardea-ssh/cardea/sshconfig"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
)

// between is the host key of a gateway that stands in a server's place.
func (b *bench) between(gateway, serverID string, ca ssh.Signer) (ssh.Signer, []byte) {
	b.Helper()
	key := sshtest.Key(b)
	cert, err := sshcert.BuildGatewayHost(sshcert.GatewayHost{GatewayID: gateway, ServerID: serverID, Serial: 1, Issued: b.now}, key.PublicKey())
	if err != nil {
		b.Fatal(err)
	}
	if err := cert.SignCert(rand.Reader, ca); err != nil {
		b.Fatal(err)
	}
	return key, cert.Marshal()
}

// What stands in a server's place gets the identity only if the connection is recorded and
// leads to that very gateway; and where it is recorded, the server itself gets none.
func TestAGatewayGetsTheIdentityOfARecordedConnectionThroughItAlone(t *testing.T) {
	web, db := ident.New(ident.Server), ident.New(ident.Server)
	gw, other := ident.New(ident.Gateway), ident.New(ident.Gateway)
	for name, c := range map[string]struct {
		gateways []string // of the connection; nil is not recorded
		meets    func(b *bench) (ssh.Signer, []byte)
		offered  bool
	}{
		"the gateway of a recorded connection": {[]string{other, gw}, func(b *bench) (ssh.Signer, []byte) { return b.between(gw, web, b.gatewayCA) }, true},
		"a gateway of another connection":      {[]string{other}, func(b *bench) (ssh.Signer, []byte) { return b.between(gw, web, b.gatewayCA) }, false},
		"a gateway where nothing is recorded":  {nil, func(b *bench) (ssh.Signer, []byte) { return b.between(gw, web, b.gatewayCA) }, false},
		"a gateway for another server":         {[]string{gw}, func(b *bench) (ssh.Signer, []byte) { return b.between(gw, db, b.gatewayCA) }, false},
		"a gateway that the host CA signed":    {[]string{gw}, func(b *bench) (ssh.Signer, []byte) { return b.between(gw, web, b.hostCA) }, false},
		"a gateway that somebody signed":       {[]string{gw}, func(b *bench) (ssh.Signer, []byte) { return b.between(gw, web, sshtest.Key(b)) }, false},
		"the server, where it is recorded":     {[]string{gw}, func(b *bench) (ssh.Signer, []byte) { return b.host(web) }, false},
		"the server, where it is not":          {nil, func(b *bench) (ssh.Signer, []byte) { return b.host(web) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			id := b.add(web, "alice", ourPID)
			id.gateways = c.gateways
			s := b.session(ourPID)
			key, blob := c.meets(b)
			s.answer(bindFor(t, key, blob, "session", false).wire())
			if got := slices.Contains(offers(t, s), string(id.blob)); got != c.offered {
				t.Errorf("offered: %v, want %v", got, c.offered)
			}
		})
	}
}

func TestARecordedConnectionNeverLeadsPastTheGateways(t *testing.T) {
	key := sshtest.Key(t)
	user := sshcert.User{Login: "alice", ServerID: ident.New(ident.Server), UserID: ident.New(ident.User), SessionID: ident.New(ident.Session),
		DeviceID: ident.New(ident.Device), ProjectID: ident.New(ident.Project), Serial: 1, Issued: newBench(t).now}
	cert, err := sshcert.BuildUser(user, key.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	if err := cert.SignCert(rand.Reader, sshtest.Key(t)); err != nil {
		t.Fatal(err)
	}
	through := api.Route{Address: "192.0.2.1:7234", Recipients: []api.Recipient{{Gateway: "gw_a"}}, TLS: &api.TLSRoute{Recipients: []api.Recipient{{Gateway: "gw_b"}}}}
	got := api.Connection{ServerID: user.ServerID, ServerName: "web-1", Login: "alice", Certificate: sshtest.Line(cert), Routes: []api.Route{through}, Recorded: true}
	if _, err := checkConnection(got, key.PublicKey(), user.Issued); err != nil {
		t.Fatal(err)
	}
	if ids := gatewaysOf(got); !slices.Equal(ids, []string{"gw_a", "gw_b"}) {
		t.Errorf("gateways %q", ids)
	}
	got.Routes = append(got.Routes, api.Route{Address: "192.0.2.9:22"})
	if _, err := checkConnection(got, key.PublicKey(), user.Issued); err == nil || !strings.Contains(err.Error(), "past the gateways") {
		t.Errorf("got %v", err)
	}
	got.Recorded = false
	if _, err := checkConnection(got, key.PublicKey(), user.Issued); err != nil || gatewaysOf(got) != nil {
		t.Errorf("got %v, %q", err, gatewaysOf(got))
	}
}

// ssh's file is brought in step before ssh meets a gateway that it does not know to expect.
func TestTheTrustOfBeforeIsNotEnoughForARecordedConnection(t *testing.T) {
	c := &catalog{}
	c.known.HostCAs, c.known.GatewayCAs, c.known.Recorded = []string{"h"}, []string{"g"}, []string{"srv_a.cardea"}
	for name, v := range map[string]struct {
		got  api.Connection
		want bool
	}{
		"a recorded server that is known":       {api.Connection{ServerID: "srv_a", HostCAs: []string{"h"}, Recorded: true, GatewayCAs: []string{"g"}}, true},
		"one that was not recorded before":      {api.Connection{ServerID: "srv_b", HostCAs: []string{"h"}, Recorded: true, GatewayCAs: []string{"g"}}, false},
		"another gateway CA":                    {api.Connection{ServerID: "srv_a", HostCAs: []string{"h"}, Recorded: true, GatewayCAs: []string{"g", "g2"}}, false},
		"another host CA":                       {api.Connection{ServerID: "srv_a", HostCAs: []string{"h2"}}, false},
		"a server that is not recorded anymore": {api.Connection{ServerID: "srv_a", HostCAs: []string{"h"}}, true},
	} {
		if got := c.trusts(v.got); got != v.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Programs that check no certificates are to find the server itself, or, where its sessions
// are recorded, any gateway of its project, and nobody else.
func TestRecordedServersHaveTheirOwnGatewaysKeys(t *testing.T) {
	line := func() string { return sshcert.Line(sshtest.Key(t).PublicKey()) }
	server, first, second, elsewhere := line(), line(), line(), line()
	web, db, pay := ident.New(ident.Server), ident.New(ident.Server), ident.New(ident.Server)
	cat := &api.Catalog{
		Servers: []api.CatalogEntry{
			{ID: web, Project: "prj_a", HostKey: server},
			{ID: db, Project: "prj_a", Recorded: true, HostKey: server},
			{ID: pay, Project: "prj_b", Recorded: true},
		},
		GatewayHostKeys: map[string][]string{"prj_a": {first, "no key", second}, "prj_c": {elsewhere}},
	}
	host := func(id string, names ...string) sshconfig.Host {
		return sshconfig.Host{Names: names, HostKeyAlias: sshcert.HostPrincipal(id), Login: "alice"}
	}
	trust := trustOf(cat, []sshconfig.Host{host(web, "web-1"), host(db, "db-1", "db-1.a"), host(pay, "pay-1")})
	want := []sshconfig.PlainKey{
		{Names: []string{"web-1"}, Key: server}, {Names: []string{"db-1", "db-1.a"}, Key: first}, {Names: []string{"db-1", "db-1.a"}, Key: second},
	}
	if diff := cmp.Diff(want, trust.Plain); diff != "" {
		t.Errorf("plain keys (-want +got):\n%s", diff)
	}
}
