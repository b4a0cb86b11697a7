package serveragent

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/dpop"
	"github.com/cardea-ssh/cardea/internal/atomicfile"
	"github.com/cardea-ssh/cardea/internal/ident"
)

// credential is what enrolment gave, in credential.json. The token is good
// with the key in identity.pem only.
type credential struct {
	ControlURL string `json:"control_url"`
	Token      string `json:"token"`
	Server     string `json:"server"`
	Name       string `json:"name"`
	// PolicyKey is the pinned Ed25519 key that signs desired state.
	PolicyKey []byte `json:"policy_key"`
}

func (c credential) check() error {
	if err := api.CheckURL(c.ControlURL); err != nil {
		return err
	}
	if len(c.PolicyKey) != ed25519.PublicKeySize {
		return errors.New("the policy key is not an Ed25519 key")
	}
	if c.Token == "" || strings.ContainsAny(c.Token, " \r\n\x00") {
		return errors.New("there is no token")
	}
	return ident.Check(c.Server, ident.Server)
}

// ErrNotEnrolled: there is neither a credential nor a token to get one with.
var ErrNotEnrolled = errors.New("this server is not enrolled")

// loadCredential reads credential.json. The error wraps ErrNotEnrolled if
// there is none.
func (a *Agent) loadCredential() error {
	path := a.path(credentialFile)
	raw, err := readSmall(path, maxSmallFile)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w; make a token with `cardea admin tokens create --kind server --project PROJECT`, put it into %s, then type: cardea-server-agent enroll", ErrNotEnrolled, a.opt.TokenFile)
	}
	if err != nil {
		return fmt.Errorf("read the credential: %w", err)
	}
	var c credential
	if err := errors.Join(decodeOne(raw, &c), c.check()); err != nil {
		return fmt.Errorf("%s is damaged, enrol again with a new token: %w", path, err)
	}
	key, err := dpop.Load(a.path(identityFile))
	if err != nil {
		return err
	}
	return a.use(c, key)
}

// use makes the client. A configured URL wins over that of the enrolment: a
// control plane may move, and a wrong one learns nothing from a proof.
func (a *Agent) use(c credential, key *dpop.Key) error {
	if a.opt.ControlURL != "" {
		c.ControlURL = a.opt.ControlURL
	}
	if err := c.check(); err != nil {
		return err
	}
	a.cred = c
	key.Now = a.opt.Now
	a.client = &api.Client{URL: strings.TrimSuffix(c.ControlURL, "/"), Prover: key, Token: c.Token, HTTP: a.opt.HTTP, UserAgent: a.opt.UserAgent}
	return nil
}

// Enrol exchanges the token file for a credential, unless there is one
// already, and removes the token. It returns the server's id and name.
func (a *Agent) Enrol(ctx context.Context) (id, name string, err error) {
	err = a.loadCredential()
	if err == nil {
		err = a.sameHost(ctx)
	}
	if errors.Is(err, ErrCloned) && a.canEnrol() {
		a.log.Warn("this host enrols as a server of its own", "because", err)
		if err = a.dropIdentity(); err == nil {
			err = ErrNotEnrolled
		}
	}
	if err == nil {
		a.dropUsedToken()
	}
	if errors.Is(err, ErrNotEnrolled) {
		err = a.enrol(ctx)
	}
	if err != nil {
		return "", "", err
	}
	return a.cred.Server, a.cred.Name, nil
}

func (a *Agent) enrol(ctx context.Context) error {
	if a.given != nil {
		return a.keepGiven(ctx)
	}
	secret, err := a.readToken()
	byCloud := errors.Is(err, ErrNotEnrolled) && a.opt.Cloud != ""
	if err != nil && !byCloud {
		return err
	}
	if a.opt.ControlURL == "" {
		return errors.New("the control plane's URL is not known; give it as --control-url https://access.example.com, or as control_url in the configuration")
	}
	key, err := dpop.LoadOrCreate(a.path(identityFile))
	if err != nil {
		return err
	}
	key.Now = a.opt.Now
	client := &api.Client{URL: strings.TrimSuffix(a.opt.ControlURL, "/"), Prover: key, HTTP: a.opt.HTTP, UserAgent: a.opt.UserAgent}
	in := api.ServerEnrolment{Secret: secret, Hostname: a.hostname(), Address: a.proposal(ctx), AltNames: a.opt.AltNames, Bastion: a.opt.Bastion, HostLabels: a.opt.HostLabels, Version: a.opt.Version}
	if err := a.proveRoom(); err != nil {
		return fmt.Errorf("the enrolment token is not used yet, because the credential could not be kept: %w", err)
	}
	call, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	var out api.EnrolledServer
	if byCloud {
		err = a.enrolInstance(call, client, key, &out)
	} else {
		err = client.Send(call, "POST", "/v1/servers/enrol", in, &out)
	}
	if err != nil {
		return fmt.Errorf("enrol at %s: %w", a.opt.ControlURL, err)
	}
	c := credential{ControlURL: client.URL, Token: out.AccessToken, Server: out.Server, Name: ident.Text(out.Name), PolicyKey: out.PolicyKey}
	if err := c.check(); err != nil {
		return fmt.Errorf("enrol at %s: its answer cannot be used: %w", a.opt.ControlURL, err)
	}
	a.given = &given{c, key}
	return a.keepGiven(ctx)
}

// given is a credential that the control plane gave and that is not on disk yet. Its
// token is used up, so that there is no other: a disk that failed is asked again.
type given struct {
	credential
	key *dpop.Key
}

func (a *Agent) keepGiven(ctx context.Context) error {
	c := a.given.credential
	// The machine first: a credential without it could be anybody's.
	if err := a.keepHost(ctx); err != nil {
		return fmt.Errorf("keep what this machine is known by: %w", err)
	}
	if err := writeJSON(a.path(credentialFile), c); err != nil {
		return fmt.Errorf("keep the credential: %w", err)
	}
	if _, err := atomicfile.Remove(a.opt.TokenFile); err != nil {
		a.log.Warn("the used enrolment token could not be removed; it is worthless now", "file", a.opt.TokenFile, "err", err)
	}
	a.log.Info("enrolled", "server", c.Server, "name", c.Name, "control", c.ControlURL)
	key := a.given.key
	a.given = nil
	return a.use(c, key)
}

// dropUsedToken removes a token that is older than the credential that it gave:
// the run that used it was cut off, or a disk failed, before it could. A newer one
// is somebody's who wants something; it stays.
func (a *Agent) dropUsedToken() {
	token, err := os.Lstat(a.opt.TokenFile)
	if err != nil {
		return
	}
	cred, err := os.Lstat(a.path(credentialFile))
	if err != nil || token.ModTime().After(cred.ModTime()) {
		return
	}
	if _, err := atomicfile.Remove(a.opt.TokenFile); err != nil {
		a.log.Warn("the used enrolment token could not be removed", "file", a.opt.TokenFile, "err", err)
	}
}

// proveRoom writes a file as large as a credential, and removes it: a token that
// can be used once must not be lost to a full disk.
func (a *Agent) proveRoom() error {
	probe := a.path(credentialFile + roomSuffix)
	if _, err := atomicfile.Write(probe, make([]byte, roomForCredential), atomicfile.Options{Mode: 0o600}); err != nil {
		return err
	}
	_, err := atomicfile.Remove(probe)
	return err
}

func (a *Agent) readToken() (string, error) {
	raw, err := readSmall(a.opt.TokenFile, maxSmallFile)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%w; make a token with `cardea admin tokens create --kind server --project PROJECT` and put it into %s", ErrNotEnrolled, a.opt.TokenFile)
	}
	if err != nil {
		return "", fmt.Errorf("read the enrolment token: %w", err)
	}
	secret := strings.TrimSpace(string(raw))
	if secret == "" || strings.ContainsAny(secret, " \t\r\n\x00") {
		return "", fmt.Errorf("%s does not hold one enrolment token; write it again", a.opt.TokenFile)
	}
	return secret, nil
}

// waitForEnrolment is for a service that is started before its token is there.
// A token that was refused is not tried again until the file changes.
func (a *Agent) waitForEnrolment(ctx context.Context) error {
	said, refused := "", ""
	for failures := 0; ; {
		stamp := fileStamp(a.opt.TokenFile)
		wait := tick
		if stamp == "" || stamp != refused {
			_, _, err := a.Enrol(ctx)
			if err == nil {
				return nil
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err.Error() != said {
				a.log.Error("not enrolled yet", "err", err)
				said = err.Error()
				a.board.set("state", said)
				a.publish()
			}
			switch api.KindOf(err) {
			case api.Invalid, api.Denied, api.Gone, api.Conflict, api.SignIn, api.NotFound:
				refused = stamp
				if stamp == "" { // a rule may come
					wait = refusedAgain/2 + jitter(refusedAgain/2)
				}
			default:
				if !errors.Is(err, ErrNotEnrolled) && !errors.Is(err, ErrCloned) {
					failures++
					wait = a.opt.backoff(failures, err)
				}
			}
		}
		if err := a.rest(ctx, wait); err != nil {
			return err
		}
	}
}

func fileStamp(path string) string {
	info, err := os.Lstat(path)
	if err != nil {
		return ""
	}
	return info.ModTime().Format(time.RFC3339Nano) + fmt.Sprint(info.Size())
}

// hostname is the name to propose. Of the host's own, which nobody has chosen for
// this, only the first label: the rest is the network's, and often made up.
func (a *Agent) hostname() string {
	name := strings.ToLower(a.opt.Hostname)
	if name == "" {
		name, _ = os.Hostname()
		name, _, _ = strings.Cut(strings.ToLower(name), ".")
	}
	if ident.ServerName(name) != nil {
		return ""
	}
	return name
}
