package gateway

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/gateway/bridge"
	"github.com/cardea-ssh/cardea/hello"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/recording"
	"github.com/cardea-ssh/cardea/sshcert"
)

// Sentences to users whose sessions are ended by order.
const (
	sentenceRevoked = "your access to this server has ended, and this session with it"
	sentenceDrained = "this gateway is being stopped, and this session with it; connect again"
)

// sessionRecorder is the recording of one session.
type sessionRecorder interface {
	bridge.Recorder
	Close(recording.Ended) error
}

// beginRecording begins one, or says why the session cannot be recorded.
type beginRecording func(recording.Header, *api.RecordOrder) (sessionRecorder, error)

// recorded is what a session has besides in record mode.
type recorded struct {
	options  bridge.Options // all but the connections
	required bool
	header   recording.Header
	order    *api.RecordOrder
	writer   sessionRecorder // nil if it is not recorded, though it should be
	why      error           // then
	held     bridge.Held
}

// recordClaim makes the fresh key with which this gateway goes to the server, and names both
// keys in the claim. It is in memory only, and of no use in two minutes.
func (g *Gateway) recordClaim(claim *api.Claim) (target ssh.Signer, err error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	if target, err = ssh.NewSignerFromKey(private); err != nil {
		return nil, err
	}
	claim.HostKey, claim.TargetKey = sshcert.Line(g.hostKey.PublicKey()), sshcert.Line(target.PublicKey())
	return target, nil
}

// arrange makes of the control plane's order what the bridge needs. Whatever is missing or does
// not fit is an error: there is nothing to fall back to.
func (g *Gateway) arrange(claimed api.Claimed, ticket hello.Ticket, target ssh.Signer, from netip.AddrPort) (*recorded, error) {
	o := claimed.Record
	if o == nil {
		return nil, errors.New("the control plane ordered no recording")
	}
	host, _, err := certify(o.HostCertificate, g.hostKey)
	if err != nil {
		return nil, fmt.Errorf("host certificate: %w", err)
	}
	to, cert, err := certify(o.TargetCertificate, target)
	if err != nil {
		return nil, fmt.Errorf("certificate for the server: %w", err)
	}
	users, err := parseKeys(o.UserCAs)
	if err != nil {
		return nil, err
	}
	hosts, err := parseKeys(o.HostCAs)
	if err != nil {
		return nil, err
	}
	project := sshcert.Describe(cert).Project
	return &recorded{
		required: o.Required, order: o,
		options: bridge.Options{
			HostKey: host, PlainKey: g.hostKey, TargetKey: to, Fresh: ticket.KeyFingerprint,
			Expect:     sshcert.ExpectUser{CAs: users, Login: ticket.Login, ServerID: ticket.Server, ProjectID: project},
			ExpectHost: sshcert.ExpectHost{CAs: hosts, ServerID: ticket.Server},
			Policy:     bridge.Policy{PortForwarding: o.PortForwarding, AgentForwarding: o.AgentForwarding, X11: o.X11Forwarding},
			Required:   o.Required, Input: o.Input, Now: g.clock.Now,
		},
		header: recording.Header{
			Session: claimed.Session, Gateway: g.opt.Credential.Gateway, User: ticket.User, Server: ticket.Server,
			ServerName: o.ServerName, Project: project, Login: ticket.Login, Source: from.Addr().String(), Started: g.clock.Now(),
		},
	}, nil
}

// certify is key with the certificate that line holds; it must be for that very key.
func certify(line string, key ssh.Signer) (ssh.Signer, *ssh.Certificate, error) {
	cert, err := sshcert.ParseCertificateLine(line)
	if err != nil {
		return nil, nil, err
	}
	signer, err := ssh.NewCertSigner(cert, key)
	return signer, cert, err
}

func parseKeys(lines []string) (out []ssh.PublicKey, err error) {
	for _, l := range lines {
		key, err := sshcert.ParseLine(l)
		if err != nil {
			return nil, fmt.Errorf("certificate authority: %w", err)
		}
		out = append(out, key)
	}
	if len(out) == 0 {
		return nil, errors.New("the control plane named no certificate authority")
	}
	return out, nil
}

// record begins what record mode needs besides, or does nothing in the other. A session
// whose ticket and order do not agree is neither.
func (g *Gateway) record(s *session, claimed api.Claimed, ticket hello.Ticket, key ssh.Signer, from netip.AddrPort) *refusal {
	if ticket.Mode != hello.Record {
		if claimed.Record != nil {
			return &refusal{kindControl, "the control plane contradicts itself", errors.New("an order to record came with a ticket to relay")}
		}
		return nil
	}
	r, err := g.arrange(claimed, ticket, key, from)
	if err != nil {
		return &refusal{kindControl, "the control plane's order for this session is not good", err}
	}
	if no := g.begin(r); no != nil {
		return no
	}
	s.recorded = r
	s.lifetime()
	return nil
}

// unrecord ends the recording of a session that never began.
func (s *session) unrecord() {
	if s.recorded != nil && s.recorded.writer != nil {
		closeWithin(closeTime, s.recorded.writer, recording.Ended{Cause: causeRevoked})
	}
}

// begin begins the recording. A session that has to be recorded and cannot be is refused.
func (g *Gateway) begin(r *recorded) *refusal {
	r.writer, r.why = g.beginWithin(g.beginTime, r)
	if r.why == nil {
		return nil
	}
	r.writer = nil
	g.log.Error("a session cannot be recorded", "session", r.header.Session, "required", r.required, "error", r.why)
	if r.required {
		return &refusal{kindRecord, "this session has to be recorded, and this gateway cannot do that now", r.why}
	}
	return nil
}

const (
	// beginTime and closeTime bound what a session waits for at its two ends where the
	// disk does not answer. What is left to do is done when it does, or by the next process.
	beginTime = 5 * time.Second
	closeTime = 10 * time.Second
)

var errDiskHangs = errors.New("the disk does not answer")

// beginWithin begins a recording, or gives up. What begins later is ended at once.
func (g *Gateway) beginWithin(limit time.Duration, r *recorded) (sessionRecorder, error) {
	type begun struct {
		writer sessionRecorder
		err    error
	}
	result := make(chan begun, 1)
	go func() {
		w, err := g.recording(r.header, r.order)
		result <- begun{w, err}
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case b := <-result:
		return b.writer, b.err
	case <-timer.C:
	}
	go func() {
		if b := <-result; b.err == nil {
			b.writer.Close(recording.Ended{Cause: causeError, Sentence: errDiskHangs.Error()})
		}
	}()
	return nil, errDiskHangs
}

// closeWithin ends a recording, or goes on without waiting for it.
func closeWithin(limit time.Duration, w sessionRecorder, why recording.Ended) error {
	done := make(chan error, 1)
	go func() { done <- w.Close(why) }()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return errDiskHangs
	}
}

// carryRecorded accepts the client and stands between it and the server until the end.
func (g *Gateway) carryRecorded(s *session, opened *hello.Opened, log []any) {
	log = append(log, "session", s.id)
	began, r := time.Now(), s.recorded
	told := g.refusals.of(s.id)
	res := bridge.Result{Cause: causeError}
	defer func() {
		g.sessions.remove(s)
		cause := s.ended(res.Cause)
		if r.writer != nil {
			if err := closeWithin(g.closeTime, r.writer, recording.Ended{Cause: cause, Sentence: res.Sentence}); err != nil {
				g.log.Error("a recording did not end well", "session", s.id, "error", err)
			}
		}
		told.end(res.Refusals)
		g.ends.add(ended{s.id, recordedEnd(cause, res, r)})
		if res.Sentence != "" {
			log = append(log, "sentence", res.Sentence)
		}
		g.log.Info("session ended", append(log, "cause", cause, "up", res.Up, "down", res.Down, "seconds", int(time.Since(began).Seconds()))...)
	}()
	defer s.server.Close()
	s.client.SetWriteDeadline(time.Now().Add(answerTimeout))
	if _, err := s.client.Write(opened.Accept()); err != nil {
		res.Cause = causeClient
		return
	}
	s.client.SetDeadline(time.Time{})
	g.log.Info("session started", append(log, "recorded", r.writer != nil)...)
	o := r.options
	o.User, o.Server, o.Refused, o.Log = s.client, s.server, told.add, g.log.With("session", s.id)
	o.Held = &r.held
	if r.writer != nil {
		o.Recorder = r.writer
	}
	var err error
	if res, err = bridge.Run(s.ctx, o); err != nil {
		g.log.Warn("a session failed", append(log, "error", err)...)
	}
}

// recordedEnd is what is told of a session that was recorded.
func recordedEnd(cause string, res bridge.Result, r *recorded) api.SessionEnd {
	end := api.SessionEnd{Cause: cause, Up: res.Up, Down: res.Down}
	if res.HostKey != nil {
		end.HostKey = sshcert.Line(res.HostKey)
	}
	for _, why := range []error{r.why, res.Unrecorded} {
		if why != nil {
			end.Unrecorded = "the gateway could not keep what passed"
		}
	}
	return end
}

// stop ends the session by order: its user is told why, in the control plane's words where it
// has some.
func (s *session) stop(cause, why string) {
	sentence := ""
	switch {
	case why != "":
		sentence = "this session was ended: " + ident.Text(why)
	case cause == causeRevoked:
		sentence = sentenceRevoked
	case cause == causeDrained:
		sentence = sentenceDrained
	}
	s.cancel(bridge.End{Cause: cause, Sentence: sentence})
}

// lifetime is the context of a session in record mode.
func (s *session) lifetime() { s.ctx, s.cancel = context.WithCancelCause(context.Background()) }
