package issue

import (
	"context"
	"errors"
	"strconv"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/ca"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/sshcert"
	"github.com/cardea-ssh/cardea/store"
	"golang.org/x/crypto/ssh"
)

// HostCertificate makes the host certificate of the calling server, and of no
// other: its principal is the caller's own id.
func (s *Service) HostCertificate(ctx context.Context, by caller.Caller, in api.HostCertificateRequest) (*api.HostCertificate, error) {
	return s.forServer(ctx, by, store.IssueHost, audit.IssueHost, signer{place: place{ca.Team, ca.HostCA}}, in.PublicKey,
		func(serial uint64, key ssh.PublicKey) (*ssh.Certificate, sshcert.Profile, error) {
			h := sshcert.Host{ServerID: by.Server.ID, Serial: serial, Issued: s.now()}
			cert, err := sshcert.BuildHost(h, key)
			return cert, h, err
		})
}

// Canary makes the user certificate with which the calling server's agent
// proves its sshd: for the reserved account, on that server alone.
func (s *Service) Canary(ctx context.Context, by caller.Caller, in api.CanaryRequest) (*api.HostCertificate, error) {
	team, err := s.Store.Team(ctx)
	if err != nil {
		return nil, err
	}
	who := signer{place{by.Server.Project, ca.UserCA}, confirmedBy(by.Server, team)}
	return s.forServer(ctx, by, store.IssueCanary, audit.IssueCanary, who, in.PublicKey,
		func(serial uint64, key ssh.PublicKey) (*ssh.Certificate, sshcert.Profile, error) {
			c := sshcert.Canary{ServerID: by.Server.ID, ProjectID: by.Server.Project, Serial: serial, Issued: s.now()}
			cert, err := sshcert.BuildCanary(c, key)
			return cert, c, err
		})
}

func (s *Service) forServer(ctx context.Context, by caller.Caller, kind, action string, at signer, publicKey string,
	build func(uint64, ssh.PublicKey) (*ssh.Certificate, sshcert.Profile, error)) (*api.HostCertificate, error) {
	e := by.Event(s.now(), action)
	e.Detail = map[string]string{}
	key, err := parseKey(publicKey)
	if err == nil && key.Type() != ssh.KeyAlgoED25519 {
		err = errors.New("the key is not of type ssh-ed25519")
	}
	if err != nil {
		return nil, s.refuse(ctx, e, "bad-key", lookup.Invalid(err).WithHint("make one: `ssh-keygen -t ed25519`"))
	}
	record := store.Issued{Kind: kind, Server: by.Server.ID, Project: by.Server.Project, CreatedAt: e.Time}
	if kind == store.IssueCanary {
		record.Login = ident.Canary
	}
	m := by.Meta(e.Time)
	m.Idempotency = nil // as in issueUser
	cert, err := s.issue(ctx, at, func(serial uint64) (*ssh.Certificate, sshcert.Profile, error) { return build(serial, key) }, &record, m, e)
	if errors.Is(err, store.ErrDenied) {
		return nil, s.refuse(ctx, e, "server-disabled", api.Errorf(api.Denied, "server %s is not active", by.Server.Name).
			WithHint("an administrator can enable it; type: cardea admin servers enable %s", by.Server.ID).WithCause(err))
	}
	if err != nil {
		return nil, caller.Explain(err, "server "+by.Server.Name)
	}
	return &api.HostCertificate{Certificate: sshcert.Line(cert), Serial: strconv.FormatUint(cert.Serial, 10), ExpiresAt: record.NotAfter}, nil
}
