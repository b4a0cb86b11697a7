package serveragent

import (
	"errors"
	"net/http"
	"net/url"

	"golang.org/x/net/http/httpproxy"
)

// Proxy sends calls through the proxy at raw, apart from those that NO_PROXY of the
// environment names. The URL may hold a name and a password, so errors do not repeat it.
func Proxy(raw string) (func(*http.Request) (*url.URL, error), error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("this is not the URL of a proxy; give it as http://proxy.example.com:3128")
	}
	find := (&httpproxy.Config{HTTPSProxy: raw, NoProxy: httpproxy.FromEnvironment().NoProxy}).ProxyFunc()
	return func(r *http.Request) (*url.URL, error) { return find(r.URL) }, nil
}
