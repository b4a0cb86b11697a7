package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/dpop"
	"github.com/cardea-ssh/cardea/internal/atomicfile"
)

// Files below the state folder.
const (
	DefaultStateDir = "/var/lib/cardea-gateway"
	identityFile    = "identity.pem"
	credentialFile  = "credential.json"
	// TokenFile is where an administrator puts an enrolment token.
	TokenFile = "enrollment.token"

	maxStateFile = 64 << 10 // far above what is in them
	secretPrefix = "cardea_enr_"
)

// Credential is what enrolment gave: who this gateway is, and the token that
// is good with its identity key only.
type Credential struct {
	URL     string `json:"url"`
	Gateway string `json:"gateway"`
	Name    string `json:"name"`
	Token   string `json:"token"`
}

// Enrolment is where a gateway finds itself, or how it becomes one.
type Enrolment struct {
	StateDir  string
	URL       string // of the control plane; empty means the one it was enrolled at
	TokenFile string // empty means TokenFile in StateDir
	UserAgent string
	Version   string
	Log       *slog.Logger
}

// Load returns this gateway's credential and a client that uses it. A token
// file means: enrol with it, and remove it. Without either the error says what
// to do.
func (e Enrolment) Load(ctx context.Context) (Credential, *api.Client, error) {
	if e.TokenFile == "" {
		e.TokenFile = filepath.Join(e.StateDir, TokenFile)
	}
	key, err := dpop.LoadOrCreate(filepath.Join(e.StateDir, identityFile))
	if err != nil {
		return Credential{}, nil, err
	}
	cred, err := e.read()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Credential{}, nil, err
	}
	secret, secretErr := e.secret()
	switch {
	case secretErr == nil:
		if cred, err = e.enrolOrKeep(ctx, key, secret, cred); err != nil {
			return Credential{}, nil, err
		}
	case !errors.Is(secretErr, fs.ErrNotExist):
		return Credential{}, nil, secretErr
	case cred.Gateway == "":
		return Credential{}, nil, fmt.Errorf("this gateway is not enrolled: put the secret that `cardea admin tokens create --kind gateway` prints into %s", e.TokenFile)
	}
	if e.URL != "" {
		cred.URL = e.URL
	}
	return cred, e.client(cred, key), api.CheckURL(cred.URL)
}

func (e Enrolment) client(c Credential, key *dpop.Key) *api.Client {
	return &api.Client{URL: c.URL, Prover: key, Token: c.Token, UserAgent: e.UserAgent}
}

// enrolOrKeep keeps the credential of before if the token turns out to be used,
// or the key to be enrolled: a crash between writing the one and removing the
// other leaves both.
func (e Enrolment) enrolOrKeep(ctx context.Context, key *dpop.Key, secret string, old Credential) (Credential, error) {
	cred, err := e.enrol(ctx, key, secret)
	kind := api.KindOf(err)
	if old.Gateway != "" && (kind == api.Gone || kind == api.Conflict) {
		e.Log.Warn("not enrolled anew; this gateway stays what it was", "gateway", old.Gateway, "reason", err)
		cred, err = old, nil
	}
	if err != nil {
		return Credential{}, fmt.Errorf("enrol this gateway: %w", err)
	}
	if _, err := atomicfile.Remove(e.TokenFile); err != nil {
		return Credential{}, fmt.Errorf("remove the used enrolment token: %w", err)
	}
	return cred, nil
}

func (e Enrolment) enrol(ctx context.Context, key *dpop.Key, secret string) (Credential, error) {
	if err := api.CheckURL(e.URL); err != nil {
		return Credential{}, err
	}
	var got api.EnrolledGateway
	client := e.client(Credential{URL: e.URL}, key)
	in := api.GatewayEnrolment{Secret: secret, Version: e.Version}
	if err := client.Send(ctx, http.MethodPost, "/v1/gateways/enrol", in, &got); err != nil {
		return Credential{}, err
	}
	cred := Credential{URL: e.URL, Gateway: got.Gateway.ID, Name: got.Gateway.Name, Token: got.AccessToken}
	if cred.Gateway == "" || cred.Token == "" {
		return Credential{}, fmt.Errorf("%s did not answer as a control plane of Cardea does", e.URL)
	}
	text, err := json.MarshalIndent(cred, "", "  ")
	if err != nil {
		return Credential{}, err
	}
	if _, err := atomicfile.Write(filepath.Join(e.StateDir, credentialFile), text, atomicfile.Options{Mode: 0o600}); err != nil {
		return Credential{}, err
	}
	e.Log.Info("enrolled", "gateway", cred.Gateway, "name", cred.Name)
	return cred, nil
}

func (e Enrolment) read() (Credential, error) {
	text, err := readPrivate(filepath.Join(e.StateDir, credentialFile))
	if err != nil {
		return Credential{}, err
	}
	var c Credential
	if err := json.Unmarshal(text, &c); err != nil || c.Gateway == "" || c.Token == "" {
		return Credential{}, fmt.Errorf("%s is damaged: remove it and enrol this gateway again", filepath.Join(e.StateDir, credentialFile))
	}
	return c, nil
}

func (e Enrolment) secret() (string, error) {
	text, err := readPrivate(e.TokenFile)
	if err != nil {
		return "", err
	}
	secret := strings.TrimSpace(string(text))
	if !strings.HasPrefix(secret, secretPrefix) || strings.ContainsAny(secret, " \t\r\n") {
		return "", fmt.Errorf("%s does not hold one enrolment token; write it again", e.TokenFile)
	}
	return secret, nil
}

// readPrivate reads a small file that nobody else may read, without following
// a link.
func readPrivate(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s may be read by others; type: chmod 600 %s", path, path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxStateFile+1))
	if err == nil && len(text) > maxStateFile {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxStateFile)
	}
	return text, err
}
