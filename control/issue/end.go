package issue

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"slices"
	"strings"

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

// End closes the record of a session that this gateway carried. Where the
// server did not show its host certificate, that is a second event: ssh refuses
// such a server on the user's machine, and nobody else would hear of it.
func (s *Service) End(ctx context.Context, by caller.Caller, session string, in api.SessionEnd) (*api.Named, error) {
	if ident.Check(session, ident.GatewaySession) != nil {
		return nil, api.Errorf(api.NotFound, "there is no session %q", lookup.Shown(session))
	}
	causes := []string{"client", "server", "revoked", "drained", "error"}
	if !slices.Contains(causes, in.Cause) || in.Up < 0 || in.Down < 0 {
		return nil, api.Errorf(api.Invalid, "a session ends by %s, with counts of bytes", strings.Join(causes, ", "))
	}
	row, err := s.Store.GatewaySession(ctx, session)
	if err == nil && row.Gateway != by.Gateway.ID {
		err = store.ErrNotFound
	}
	if err != nil {
		return nil, caller.Explain(err, "session "+session)
	}
	e := by.Event(s.now(), audit.GatewaySessionEnd)
	e.User, e.Server, e.Project, e.Session = row.User, row.Server, row.Project, row.UserSession
	e.Detail = map[string]string{"gateway_session": session, "cause": in.Cause}
	e.Reason = row.EndReason // empty where nobody ordered it
	if row.EndBy != "" {
		e.Detail["ordered_by"] = row.EndBy
	}
	if in.Unrecorded != "" {
		e.Detail["unrecorded"] = bounded(in.Unrecorded)
	}
	events := []audit.Event{e}
	odd, err := s.judgeHostKey(ctx, row, in)
	if err != nil {
		return nil, err
	}
	if odd.reason != "" {
		e.Action, e.Outcome, e.Reason = audit.HostImpostor, odd.outcome, odd.reason
		e.Detail = map[string]string{"gateway_session": session, "login": row.Login, "from": row.Source}
		if odd.key != "" {
			e.Detail["key"] = odd.key
		}
		events = append(events, e)
	}
	err = s.Store.EndGatewaySession(ctx, store.GatewaySession{
		ID: session, Gateway: by.Gateway.ID, EndedAt: e.Time, Cause: in.Cause, Up: in.Up, Down: in.Down,
	}, by.MetaFor(e.Time, session, audit.EncodeAll(events...)...))
	if err == nil && in.Unrecorded != "" {
		err = s.unrecorded(ctx, by, session, bounded(in.Unrecorded))
	}
	return lookup.Named(session, caller.Explain(err, "session "+session))
}

// unrecorded notes that there is nothing of a recording to wait for. Where its gateway has told
// more of it, that holds.
func (s *Service) unrecorded(ctx context.Context, by caller.Caller, session, why string) error {
	row, err := s.Store.Recording(ctx, session)
	if errors.Is(err, store.ErrNotFound) || err == nil && (row.State != store.RecordingRunning || row.Place != "") {
		return nil
	}
	if err == nil {
		err = s.Store.ReportRecording(ctx, session, store.Recording{Keeper: by.Gateway.ID, State: store.RecordingDamaged, EndCause: "error", Fault: why}, store.Meta{Now: s.now()})
	}
	if errors.Is(err, store.ErrDenied) {
		return nil
	}
	return err
}

// oddity is what was wrong with what a server showed; without a reason nothing
// was.
type oddity struct{ outcome, reason, key string }

// judgeHostKey looks at what a gateway, or a client on the direct way, saw of a
// server's first key exchange. It is judged by the time at which the session began: the certificate of a
// session that lasts for weeks may be over by its end.
func (s *Service) judgeHostKey(ctx context.Context, row store.GatewaySession, in api.SessionEnd) (oddity, error) {
	if in.HostKey == "" && !in.HostKeyHidden && (in.HostKeyAlgorithms == "" || offersCertificate(in.HostKeyAlgorithms)) {
		return oddity{}, nil // nothing was said yet, or the client left before the key came
	}
	cas, err := s.hostCAs(ctx)
	if err != nil {
		return oddity{}, err
	}
	cert, certErr := sshcert.ParseCertificateLine(in.HostKey)
	good := func(server string) error {
		return sshcert.VerifyHost(cert, sshcert.ExpectHost{CAs: cas, ServerID: server, Now: row.StartedAt})
	}
	if certErr == nil && good(row.Server) == nil {
		return oddity{}, nil
	}
	server, err := s.named(ctx, row.Server)
	if err != nil {
		return oddity{}, err
	}
	odd := oddity{outcome: audit.Denied}
	switch {
	case in.HostKey == "" && in.HostKeyHidden:
		odd.reason = server.Name + " sent no host key that can be read"
	case in.HostKey == "":
		odd.reason = server.Name + " offered no host certificate, only " + in.HostKeyAlgorithms
	case certErr == nil:
		odd.key = ssh.FingerprintSHA256(cert.Key)
		if odd.reason, err = s.otherCertificate(ctx, server, cert, good); err != nil {
			return oddity{}, err
		}
	default:
		odd = withoutCertificate(server, in.HostKey)
		if odd.outcome == audit.Failed && offersCertificate(in.HostKeyAlgorithms) {
			return oddity{}, nil // a program that checks no certificates, and knows this key by the catalog
		}
	}
	return odd, nil
}

// otherCertificate says whose certificate it is.
func (s *Service) otherCertificate(ctx context.Context, server store.Server, cert *ssh.Certificate, good func(string) error) (string, error) {
	of, ok := sshcert.ServerOf(cert)
	if !ok || of == server.ID || good(of) != nil {
		return server.Name + " showed a host certificate that is not good: " + good(server.ID).Error(), nil
	}
	other, err := s.named(ctx, of)
	return server.Name + " showed the host certificate of " + other.Name, err
}

// withoutCertificate tells a server that showed its own key from one that
// showed another. ssh, as Cardea configures it, believes neither. The key is
// taken for bytes: whoever sent it is a stranger.
func withoutCertificate(server store.Server, line string) oddity {
	typ, text, _ := strings.Cut(line, " ")
	wire, err := base64.StdEncoding.DecodeString(text)
	if err != nil || strings.Contains(typ, "-cert-v0") {
		return oddity{outcome: audit.Denied, reason: server.Name + " showed a host key that cannot be read, of type " + bounded(typ)}
	}
	sum := sha256.Sum256(wire)
	odd := oddity{outcome: audit.Denied, key: "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])}
	odd.reason = server.Name + " showed a key without certificate, " + odd.key
	if own, err := sshcert.ParseLine(server.HostKey); err == nil && ssh.FingerprintSHA256(own) == odd.key {
		odd.outcome, odd.reason = audit.Failed, server.Name+" showed its own host key without a certificate"
	}
	return odd
}

func offersCertificate(algorithms string) bool {
	return slices.Contains(strings.Split(algorithms, ","), ssh.CertAlgoED25519v01)
}

// named is a server, or one that is gone with its id in place of its name.
func (s *Service) named(ctx context.Context, id string) (store.Server, error) {
	server, err := s.Store.Server(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return store.Server{ID: id, Name: id}, nil
	}
	return server, err
}

// hostCAs are the team's, neighbours in a rotation included.
func (s *Service) hostCAs(ctx context.Context) ([]ssh.PublicKey, error) {
	keys, err := s.Store.Keys(ctx, ca.Team, string(ca.HostCA))
	if err != nil {
		return nil, err
	}
	var cas []ssh.PublicKey
	for _, k := range keys {
		key, err := sshcert.ParseLine(k.Line())
		if err != nil {
			return nil, err
		}
		cas = append(cas, key)
	}
	return cas, nil
}
