package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/hello"
	"github.com/cardea-ssh/cardea/sshcert"
	"github.com/cardea-ssh/cardea/store"
)

const (
	// MaxSealingKeys is today's, yesterday's, and room for restarts.
	MaxSealingKeys = 4
	sealingKeySize = 32 // X25519 (RFC 7748)
	maxSessions    = 1 << 20
)

// ReportGateway stores what a gateway tells of itself, with our time, and
// acknowledges its keys: from now on clients seal at the newest, and recordings that
// are signed with them can be verified for ever.
func (s *Service) ReportGateway(ctx context.Context, by caller.Caller, in api.GatewayReport) (*api.GatewayReportAnswer, error) {
	r := store.GatewayReport{
		Healthy: in.Healthy, Draining: in.Draining, Health: bounded(in.Health, maxHealthText),
		Sessions: min(max(in.Sessions, 0), maxSessions), Version: bounded(in.Version, maxVersion),
	}
	answer := &api.GatewayReportAnswer{Acknowledged: [][]byte{}}
	if len(in.SealingKeys) > MaxSealingKeys {
		return nil, api.Errorf(api.Invalid, "%d sealing keys, at most %d are kept", len(in.SealingKeys), MaxSealingKeys)
	}
	for _, k := range in.SealingKeys {
		id := hello.KeyIDOf(k.Public)
		if len(k.Public) != sealingKeySize || string(k.ID) != string(id[:]) {
			return nil, api.Errorf(api.Invalid, "a sealing key is %d bytes, with the start of its hash as id", sealingKeySize)
		}
		r.SealingKeys = append(r.SealingKeys, store.SealingKey{ID: k.ID, Public: k.Public})
		answer.Acknowledged = append(answer.Acknowledged, k.ID)
	}
	keys, err := recordingKeys(in.RecordingKeys)
	if err != nil {
		return nil, err
	}
	r.Records, r.RecordingKeys = in.Records, keys
	if r.HostKey, err = gatewayHostKey(in.HostKey); err != nil {
		return nil, err
	}
	for _, k := range keys {
		answer.Recording = append(answer.Recording, k.ID)
	}
	m := by.Meta(s.now(), s.healthEvents(by, r)...)
	m.Idempotency = nil // a repeat only makes the report younger, as it should
	if err := s.endOrphans(ctx, by, uptime(in)); err != nil {
		return nil, err
	}
	defer s.roster.forget()
	err = s.Store.ReportGateway(ctx, by.Gateway.ID, r, m)
	if errors.Is(err, store.ErrExists) {
		return nil, s.stolenKey(ctx, by, keys, err)
	}
	if err != nil {
		return nil, caller.Explain(err, "gateway "+by.Gateway.Name)
	}
	answer.RefuseConnections = by.Gateway.RefuseConnections
	answer.GatewayKeys, err = s.gatewayKeys(ctx)
	return answer, err
}

// gatewayHostKey takes the key that a gateway tells of itself, which goes into people's
// known_hosts files. It may tell another's: then nobody believes it to be what it is.
func gatewayHostKey(line string) (string, error) {
	if line == "" {
		return "", nil
	}
	key, err := sshcert.ParseLine(line)
	if err != nil || key.Type() != ssh.KeyAlgoED25519 {
		return "", api.Errorf(api.Invalid, "the host key of a gateway is one line with an ssh-ed25519 key")
	}
	return sshcert.Line(key), nil
}

// healthEvents tells when a gateway's fitness changes, or the key that people's programs trust
// for it, and not with each report.
func (s *Service) healthEvents(by caller.Caller, r store.GatewayReport) [][]byte {
	was := by.Gateway
	if was.Healthy == r.Healthy && was.Draining == r.Draining && was.Records == r.Records && was.HostKey == r.HostKey {
		return nil
	}
	e := by.Event(s.now(), audit.GatewayReport)
	e.Detail = map[string]string{"healthy": fmt.Sprint(r.Healthy), "draining": fmt.Sprint(r.Draining)}
	if was.Records != r.Records {
		e.Detail["records"] = fmt.Sprint(r.Records)
	}
	if key, err := sshcert.ParseLine(r.HostKey); err == nil && was.HostKey != r.HostKey {
		e.Detail["host_key"] = ssh.FingerprintSHA256(key)
	}
	if !r.Healthy {
		e.Outcome, e.Reason = audit.Failed, r.Health
	}
	return audit.EncodeAll(e)
}

// uptime is how long the process has run that reports; zero if it does not say.
func uptime(in api.GatewayReport) time.Duration {
	if in.UptimeMillis > 0 {
		return time.Duration(in.UptimeMillis) * time.Millisecond
	}
	return time.Duration(in.Uptime) * time.Second
}

// endOrphans closes the records of sessions that an earlier process of the
// gateway carried and could not close: it was killed, or its machine was. The
// first report of a process is the one before which the gateway last reported
// earlier than the process began.
func (s *Service) endOrphans(ctx context.Context, by caller.Caller, uptime time.Duration) error {
	now := s.now()
	began := now.Add(-uptime)
	if uptime <= 0 || !by.Gateway.ReportedAt.Before(began) {
		return nil
	}
	var orphans []store.GatewaySession
	live := func(ctx context.Context, p store.Page) ([]store.GatewaySession, string, error) {
		return s.Store.GatewaySessions(ctx, store.SessionFilter{Live: true}, p)
	}
	err := lookup.All(ctx, live, func(g store.GatewaySession) bool {
		if g.Gateway == by.Gateway.ID && g.StartedAt.Before(began) {
			orphans = append(orphans, g)
		}
		return true
	})
	for _, g := range orphans {
		if err != nil {
			break
		}
		e := by.Event(now, audit.GatewaySessionEnd)
		e.Outcome, e.Reason = audit.Failed, "the gateway was restarted"
		e.User, e.Server, e.Project, e.Session = g.User, g.Server, g.Project, g.UserSession
		e.Detail = map[string]string{"gateway_session": g.ID, "cause": "error"}
		g.EndedAt, g.Cause = now, "error"
		err = s.Store.EndGatewaySession(ctx, g, store.Meta{Now: now, Audit: audit.EncodeAll(e)})
	}
	return err
}

// Watch waits for orders to a gateway that are newer than after: sessions to
// end, to refuse connections or take them again, or other ticket keys. Without news it answers after wait all the same,
// with the keys, so that a gateway which missed a change catches up.
func (s *Service) Watch(ctx context.Context, by caller.Caller, after int64, wait time.Duration) (*api.GatewayWatch, error) {
	id := by.Gateway.ID
	first, err := s.gatewayKeys(ctx)
	if err != nil {
		return nil, err
	}
	topics, refuses := []string{store.GatewayTopic(id)}, by.Gateway.RefuseConnections
	found, err := lookup.Await(ctx, s.Store, wait, topics, func(ctx context.Context) (*api.GatewayWatch, []string, error) {
		end, newest, err := s.Store.EndOrders(ctx, id, after)
		if err != nil {
			return nil, topics, err
		}
		keys, err := s.gatewayKeys(ctx)
		if err != nil {
			return nil, topics, err
		}
		g, err := s.Store.Gateway(ctx, id)
		if err != nil || newest <= after && g.RefuseConnections == refuses && sameKeys(keys, first) {
			return nil, topics, err
		}
		got := &api.GatewayWatch{After: max(newest, after), RefuseConnections: g.RefuseConnections, GatewayKeys: keys}
		addOrders(got, end)
		return got, topics, nil
	})
	if err != nil || found != nil {
		return found, err
	}
	return &api.GatewayWatch{After: after, RefuseConnections: refuses, GatewayKeys: first}, nil
}

func sameKeys(a, b api.GatewayKeys) bool {
	if len(a.TicketKeys) != len(b.TicketKeys) {
		return false
	}
	for id := range a.TicketKeys {
		if _, ok := b.TicketKeys[id]; !ok {
			return false
		}
	}
	return true
}
