package metadata

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Client asks one cloud. It is made for a few questions, and keeps nothing
// between two calls of a method.
type Client struct {
	Cloud Cloud
	// Base is another address, for tests: no option of the program sets it.
	Base string
	// HTTP is another client, for tests; nil means one that obeys the rules of
	// this package.
	HTTP *http.Client
}

// errAbsent: the service answers, and has no such thing.
var errAbsent = errors.New("the cloud's metadata have no such entry")

// refusal is an answer that is none; temporary if it may be another soon.
type refusal struct {
	status    int
	temporary bool
}

func (r *refusal) Error() string {
	return "the metadata service answered with status " + strconv.Itoa(r.status)
}

// direct makes a client that goes where it is told and nowhere else.
func direct() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  nil, // a proxy would answer for another machine
			DialContext:            (&net.Dialer{Timeout: callLimit}).DialContext,
			ResponseHeaderTimeout:  callLimit,
			MaxResponseHeaderBytes: 16 << 10,
			DisableKeepAlives:      true,
			DisableCompression:     true, // a bomb stays small
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// question is one request.
type question struct {
	method, path string
	header       map[string]string
	// proof is a header that the answer must carry.
	proof, proofValue string
}

// ask gets an answer, trying again what may be a passing fault.
func (c *Client) ask(ctx context.Context, q question) (string, error) {
	client := c.HTTP
	if client == nil {
		client = direct()
	}
	for try := 1; ; try++ {
		answer, err := c.once(ctx, client, q)
		var r *refusal
		if err == nil || try == tries || errors.As(err, &r) && !r.temporary {
			return answer, err
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(time.Duration(try) * pause):
		}
	}
}

func (c *Client) once(ctx context.Context, client *http.Client, q question) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	base := c.Base
	if base == "" {
		base = address
	}
	req, err := http.NewRequestWithContext(ctx, q.method, base+q.path, nil)
	if err != nil {
		return "", fmt.Errorf("ask the cloud's metadata: %w", err)
	}
	for k, v := range q.header {
		req.Header.Set(k, v)
	}
	req.Header.Set("User-Agent", "cardea-server-agent")
	res, err := client.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask the cloud's metadata: %w", err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("read the cloud's metadata: %w", err)
	case len(raw) > maxAnswer:
		return "", fmt.Errorf("the metadata service answered more than %d bytes", maxAnswer)
	case res.StatusCode != http.StatusOK:
		temporary := res.StatusCode == http.StatusTooManyRequests || res.StatusCode == http.StatusGone || res.StatusCode >= 500
		return "", &refusal{status: res.StatusCode, temporary: temporary}
	case q.proof != "" && res.Header.Get(q.proof) != q.proofValue:
		return "", fmt.Errorf("what answers at the metadata address is not %s: its %s is missing", c.Cloud, q.proof)
	}
	return string(raw), nil
}

// absent turns "not found" into errAbsent.
func absent(err error) error {
	var r *refusal
	if errors.As(err, &r) && r.status == http.StatusNotFound {
		return errAbsent
	}
	return err
}

// optional gives "" for what is not there.
func optional(s string, err error) (string, error) {
	if err = absent(err); errors.Is(err, errAbsent) {
		return "", nil
	}
	return s, err
}

// value makes one bounded line of an answer.
func value(s string) string {
	s = strings.TrimSpace(s)
	if len(s) > maxValue || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return ""
	}
	return s
}

// ip is s if it is an IP address.
func ip(s string) string {
	if parsed := net.ParseIP(strings.TrimSpace(s)); parsed != nil {
		return parsed.String()
	}
	return ""
}

// Facts asks for all that the package knows of the host.
func (c *Client) Facts(ctx context.Context) (Facts, error) {
	var f Facts
	var err error
	switch c.Cloud {
	case AWS:
		f, err = c.awsFacts(ctx)
	case GCP:
		f, err = c.gcpFacts(ctx)
	case Azure:
		f, err = c.azureFacts(ctx)
	default:
		err = fmt.Errorf("%q is no cloud that is known here; use aws, gcp or azure", string(c.Cloud))
	}
	f.Cloud = c.Cloud
	if err == nil && f.Instance == "" {
		err = fmt.Errorf("the metadata of %s name no instance", c.Cloud)
	}
	return f, err
}

// Instance asks for the id of the instance alone.
func (c *Client) Instance(ctx context.Context) (string, error) {
	var id string
	var err error
	switch c.Cloud {
	case AWS:
		id, err = c.aws(ctx, "/latest/meta-data/instance-id")
	case GCP:
		id, err = c.gcp(ctx, "instance/id")
	case Azure:
		var f Facts
		f, err = c.azureFacts(ctx)
		id = f.Instance
	default:
		_, err = c.Facts(ctx)
	}
	if id = value(id); err == nil && id == "" {
		err = fmt.Errorf("the metadata of %s name no instance", c.Cloud)
	}
	return id, err
}
