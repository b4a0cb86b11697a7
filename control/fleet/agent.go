package fleet

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/sshcert"
	"github.com/cardea-ssh/cardea/store"
	"golang.org/x/crypto/ssh"
)

// Limits of what machines may write into their own rows and the log.
const (
	MaxProblems   = 100
	maxProblem    = 500 // bytes
	maxVersion    = 64
	MaxEvents     = 1000 // in one call; an agent sends the rest with the next
	maxEventText  = 512
	maxHealthText = 200
)

// bounded cuts text of a machine to so many bytes.
func bounded(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// Report stores what a server agent tells of its own server. It cannot confirm
// a state that there never was: that would end all waiting for the next ones.
func (s *Service) Report(ctx context.Context, by caller.Caller, in api.AgentReport) (*api.AgentReportAnswer, error) {
	server := by.Server
	if err := checkReport(in); err != nil {
		return nil, lookup.Invalid(err)
	}
	beat, err := beatOf(by, in.Beat, in.Address)
	if err != nil {
		return nil, lookup.Invalid(err)
	}
	team, err := s.Store.Team(ctx)
	if err != nil {
		return nil, err
	}
	p, err := s.Store.Project(ctx, server.Project)
	if err != nil {
		return nil, caller.Explain(err, "project "+server.Project)
	}
	if (api.StateVersion{Epoch: team.Epoch, Counter: max(p.Revision, server.Revision)}).Less(in.Confirmed) {
		return nil, api.Errorf(api.Invalid, "state %d.%d was never issued here", in.Confirmed.Epoch, in.Confirmed.Counter).
			WithHint("enrol the server again with a new token")
	}
	r := store.ServerReport{
		ConfirmedEpoch: in.Confirmed.Epoch, ConfirmedCounter: in.Confirmed.Counter,
		HostKey: strings.TrimSpace(in.HostKey), HostCA: in.HostCA, AgentVersion: bounded(in.Version, maxVersion), Problems: []string{}, Beat: beat,
	}
	for _, problem := range in.Problems {
		r.Problems = append(r.Problems, bounded(problem, maxProblem))
	}
	takeHostLabels(&r, in.HostLabels)
	s.relabels.keep(&r, server, s.now())
	takeProposal(&r, in)
	pulse, err := s.Store.ReportServer(ctx, server.ID, r, by.MetaFor(s.now(), server.ID, s.problemEvents(by, r)...))
	if _, again := lookup.Repeated(err); again {
		return &api.AgentReportAnswer{}, nil
	}
	if err != nil {
		return nil, caller.Explain(err, "server "+server.Name)
	}
	if pulse.Held != "" {
		server.Held = pulse.Held
		return nil, Held(server)
	}
	return &api.AgentReportAnswer{Word: pulse.Word, Soon: pulse.Soon}, nil
}

// takeHostLabels takes what a host says of itself. Labels that cannot be taken are
// a problem to show and do not refuse the report: what the host has in force
// matters more.
func takeHostLabels(r *store.ServerReport, said *map[string]string) {
	if said == nil {
		return
	}
	labels, err := hostLabels(*said)
	if err == nil {
		r.HostLabels = &labels
		return
	}
	refuseWord(r, "the labels that the host gives itself are refused: "+err.Error())
}

func checkReport(in api.AgentReport) error {
	if len(in.Problems) > MaxProblems {
		return fmt.Errorf("%d problems, at most %d are kept", len(in.Problems), MaxProblems)
	}
	if in.Confirmed.Epoch < 0 || in.Confirmed.Counter < 0 {
		return errors.New("a version is not negative")
	}
	if in.HostCA != "" && !ident.IsFingerprint(in.HostCA) {
		return errors.New("the CA of the host certificate is not a fingerprint")
	}
	if in.HostKey == "" {
		return nil
	}
	fields := strings.Fields(in.HostKey)
	if len(fields) < 2 || fields[0] != ssh.KeyAlgoED25519 || len(in.HostKey) > sshcert.MaxSubjectKey {
		return errors.New("the host key is not an ssh-ed25519 line")
	}
	wire, err := base64.StdEncoding.DecodeString(fields[1])
	if err != nil {
		return errors.New("the host key is not in base64")
	}
	_, err = sshcert.ParseSubjectKey(wire)
	return err
}

// problemEvents tells of problems when they change, and not with each report.
func (s *Service) problemEvents(by caller.Caller, r store.ServerReport) [][]byte {
	if slices.Equal(r.Problems, by.Server.Problems) || len(r.Problems)+len(by.Server.Problems) == 0 {
		return nil
	}
	e := by.Event(s.now(), audit.ServerReport)
	e.Detail = map[string]string{"problems": strconv.Itoa(len(r.Problems))}
	if len(r.Problems) > 0 {
		e.Outcome, e.Reason = audit.Failed, r.Problems[0]
	}
	return audit.EncodeAll(e)
}

// Events stores what happened on a host, each once and in order, and answers
// which number comes next.
func (s *Service) Events(ctx context.Context, by caller.Caller, in api.AgentEvents) (*api.AgentEventsAnswer, error) {
	if len(in.Events) > MaxEvents {
		return nil, api.Errorf(api.Invalid, "%d events in one call, at most %d are taken", len(in.Events), MaxEvents)
	}
	m := by.Meta(s.now())
	m.Idempotency = nil // the numbers of the events are better: they hold for ever
	for _, v := range in.Events {
		e, err := s.hostEvent(ctx, by, v)
		if err != nil {
			return nil, err
		}
		m.Audit = append(m.Audit, audit.Encode(e))
	}
	next, err := s.Store.AppendServerEvents(ctx, by.Server.ID, in.First, m)
	if errors.Is(err, store.ErrDenied) {
		// There is a gap: the agent begins again where the log ends.
		row, err := s.Store.Server(ctx, by.Server.ID)
		if err != nil {
			return nil, caller.Explain(err, "server "+by.Server.Name)
		}
		next = row.EventsNext
		return &api.AgentEventsAnswer{Next: next}, nil
	}
	if err != nil {
		return nil, caller.Explain(err, "server "+by.Server.Name)
	}
	return &api.AgentEventsAnswer{Next: next}, nil
}

// hostEvent makes an audit event of what an agent saw. The time of the event is
// ours; the host's own is a detail, because its clock may lie.
func (s *Service) hostEvent(ctx context.Context, by caller.Caller, v api.AgentEvent) (audit.Event, error) {
	actions := map[string]string{
		"login": audit.HostLogin, "logout": audit.HostLogout, "refused": audit.HostRefused, "sudo": audit.HostSudo,
		"alarm": audit.HostAlarm, "account": audit.HostAccount,
	}
	action, ok := actions[v.Kind]
	if !ok {
		return audit.Event{}, api.Errorf(api.Invalid, "there is no event of kind %q", lookup.Shown(v.Kind))
	}
	e := by.Event(s.now(), action)
	e.Detail = map[string]string{"at": v.At.UTC().Format(time.RFC3339)}
	for name, text := range map[string]string{"login": v.Login, "serial": v.Serial, "key_id": v.KeyID, "from": v.Source, "detail": v.Detail, "key": v.Key, "ca": v.CA} {
		if text != "" {
			e.Detail[name] = bounded(text, maxEventText)
		}
	}
	switch action {
	case audit.HostAlarm:
		e.Outcome, e.Reason = audit.Failed, bounded(v.Detail, maxEventText)
	case audit.HostLogin, audit.HostLogout:
		return e, s.verifyLogin(ctx, by, v, &e)
	case audit.HostRefused:
		return e, s.explainRefusal(ctx, by, v, &e)
	}
	return e, nil
}

// verifyLogin ties a login to the certificate that it was made with. What an
// agent says counts as true only where our own record of the serial says the
// same; else a host could put words into anybody's mouth.
func (s *Service) verifyLogin(ctx context.Context, by caller.Caller, v api.AgentEvent, e *audit.Event) error {
	e.Detail["verified"] = "false"
	serial, err := strconv.ParseUint(v.Serial, 10, 63)
	if err != nil || serial == 0 {
		e.Reason = "the host names no certificate"
		return nil
	}
	issued, err := s.Store.Issued(ctx, serial)
	switch {
	case errors.Is(err, store.ErrNotFound):
		e.Reason = "no certificate with this serial was issued"
		return nil
	case err != nil:
		return err
	case issued.Server != by.Server.ID || issued.KeyID != v.KeyID || issued.Login != v.Login:
		e.Reason = "the certificate was issued for another server, login or key id"
		return nil
	}
	e.Detail["verified"] = "true"
	e.User, e.Session = issued.User, issued.Session
	if issued.Gateway != "" { // that gateway came in the user's place
		e.Gateway, e.Detail["gateway_session"] = issued.Gateway, issued.GatewaySession
	}
	return nil
}
