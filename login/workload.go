package login

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/dpop"
)

// Where platforms leave a job's token.
const (
	// IDTokenVariable holds a token: GitLab puts one there under any name that a job
	// chooses, and other platforms can be told to.
	IDTokenVariable = "CARDEA_ID_TOKEN"
	// githubURL and githubToken are where GitHub, and others after its example, give a job
	// with the permission id-token: write a token for each audience that it asks for.
	githubURL, githubToken = "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
	// KubernetesToken is where the documentation has a pod mount its projected token.
	KubernetesToken = "/var/run/secrets/cardea/token"
)

const (
	// maxIDToken bounds a job's token, in bytes: GitHub's have 2 KiB, and the control plane
	// takes no more than this.
	maxIDToken = 16 << 10
	// platformTime bounds the platform's answer.
	platformTime = 20 * time.Second
	// jobKeyPrefix begins the names of keys of jobs in the folder.
	jobKeyPrefix = "job-"
)

// Workload finds the token that the platform gave this job.
type Workload struct {
	// File holds the token, whatever else there is; empty to look around.
	File string
	// Audience is for whom a platform that is asked makes the token.
	Audience string
	// Lookup reads a variable; nil means os.LookupEnv.
	Lookup func(string) (string, bool)
	// HTTP asks the platform; nil means api.NewHTTP's.
	HTTP *http.Client
}

// Token returns it. It is good for whoever has it, until it was used: so it is kept nowhere,
// and no error repeats it.
func (w Workload) Token(ctx context.Context) (string, error) {
	switch {
	case w.File != "":
		return readToken(w.File)
	case w.env(IDTokenVariable) != "":
		return JobToken(w.env(IDTokenVariable), "the variable "+IDTokenVariable)
	case w.env(githubURL) != "" && w.env(githubToken) != "":
		return w.ask(ctx)
	}
	token, err := readToken(KubernetesToken)
	if errors.Is(err, fs.ErrNotExist) {
		return "", api.Errorf(api.SignIn, "the platform gave this job no token").
			WithHint("give it one: on GitHub the permission id-token: write, on GitLab an id_token named %s, in a pod a projected token at %s, or type: cardea login --workload --token-file FILE",
				IDTokenVariable, KubernetesToken)
	}
	return token, err
}

func (w Workload) env(name string) string {
	lookup := w.Lookup
	if lookup == nil {
		lookup = os.LookupEnv
	}
	v, _ := lookup(name)
	return strings.TrimSpace(v)
}

// readToken follows links: Kubernetes replaces a projected token by one.
func readToken(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read the token of this job: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", api.Errorf(api.Invalid, "%s is no file with a token", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxIDToken+2)) // and a new line
	if err != nil {
		return "", fmt.Errorf("read the token of this job: %w", err)
	}
	return JobToken(string(text), path)
}

// JobToken is what the text from a file or variable says, if it is a token. It wants three parts in base64url: what is something else must not be sent away.
func JobToken(text, from string) (string, error) {
	token := strings.TrimSpace(text)
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
	if token == "" || len(token) > maxIDToken || strings.Count(token, ".") != 2 || strings.Trim(token, letters) != "" {
		return "", api.Errorf(api.Invalid, "%s holds no token such as platforms give to jobs, a JSON Web Token: three parts with dots between them", from).
			WithHint("look whether it is empty, or another one")
	}
	return token, nil
}

// ask has the platform make a token for our audience.
func (w Workload) ask(ctx context.Context) (string, error) {
	u, err := url.Parse(w.env(githubURL))
	if err != nil || api.CheckURL((&url.URL{Scheme: u.Scheme, Host: u.Host}).String()) != nil {
		return "", api.Errorf(api.Invalid, "%s is no address to ask for a token", githubURL)
	}
	query := u.Query()
	query.Set("audience", w.Audience)
	u.RawQuery = query.Encode()
	ctx, cancel := context.WithTimeout(ctx, platformTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", api.Errorf(api.Invalid, "%s is no address to ask for a token", githubURL)
	}
	req.Header.Set("Authorization", "Bearer "+w.env(githubToken))
	req.Header.Set("Accept", "application/json")
	client := w.HTTP
	if client == nil {
		client = api.NewHTTP(nil) // which follows no redirect: the bearer token is for this address
	}
	res, err := client.Do(req)
	if err != nil {
		return "", api.Errorf(api.Unavailable, "the platform at %s cannot be asked for a token", u.Host).WithHint("try again").WithCause(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, 2*maxIDToken))
	var answer struct {
		Value string `json:"value"`
	}
	if err != nil || res.StatusCode != http.StatusOK || json.Unmarshal(raw, &answer) != nil {
		return "", api.Errorf(api.Unavailable, "the platform at %s gave this job no token: HTTP %d", u.Host, res.StatusCode).
			WithHint("check that the job has the permission id-token: write, and try again").WithCause(err)
	}
	return JobToken(answer.Value, "the platform's answer")
}

// JobKey is the key of a job: made fresh for each token, because another job on this machine
// may have read the one before. The same token has the same key, so that a sign-in whose
// answer was lost can be made again.
func (h *Home) JobKey(token string) (path string, key *dpop.Key, err error) {
	said := token
	if parts := strings.Split(token, "."); len(parts) == 3 {
		said = parts[1]
		if text, err := base64.RawURLEncoding.DecodeString(said); err == nil {
			said = string(text)
		}
	}
	sum := sha256.Sum256([]byte(said))
	path = filepath.Join(h.Dir, jobKeyPrefix+hex.EncodeToString(sum[:8])+".pem")
	key, err = dpop.LoadOrCreate(path)
	return path, key, err
}

// Outlived removes the key of a job whose session was replaced or ended, if it is one that
// JobKey made: nothing needs it any more.
func (h *Home) Outlived(old, now Saved) error {
	if old.KeyFile == "" || old.KeyFile == now.KeyFile || !h.isJobKey(old.KeyFile) {
		return nil
	}
	err := os.Remove(old.KeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
