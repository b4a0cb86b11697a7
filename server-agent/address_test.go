package serveragent

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestTheAddressOfAnInterface(t *testing.T) {
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		addrs, _ := i.Addrs()
		four, useful := false, false
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
				useful = true
				four = four || n.IP.To4() != nil
			}
		}
		got, err := interfaceAddress(i.Name)
		switch ip := net.ParseIP(got); {
		case !useful && (err == nil || !strings.Contains(err.Error(), i.Name+" has no address")):
			t.Errorf("%s has nothing to dial, and gave %q, %v", i.Name, got, err)
		case useful && (ip == nil || ip.IsLoopback() || four && ip.To4() == nil):
			t.Errorf("%s: %q, %v", i.Name, got, err)
		}
	}
	a := agentIn(t, "")
	a.opt.AccessInterface = "nosuch0"
	if got := a.proposal(t.Context()); got != "" || len(a.board.snapshot().Problems) != 1 {
		t.Errorf("an interface that is not there: %q, %q", got, a.board.snapshot().Problems)
	}
}

func TestTheProxyOfTheConfiguration(t *testing.T) {
	t.Setenv("NO_PROXY", "inside.example.com")
	t.Setenv("HTTPS_PROXY", "http://other.example.com:1")
	find, err := Proxy("http://agent:secret@proxy.example.com:3128")
	if err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]string{"https://access.example.com": "proxy.example.com:3128", "https://inside.example.com": "", "https://127.0.0.1": ""} {
		u, _ := url.Parse(target)
		proxy, err := find(&http.Request{URL: u})
		if err != nil || (proxy == nil) != (want == "") || proxy != nil && proxy.Host != want {
			t.Errorf("%s: %v, %v", target, proxy, err)
		}
	}
	for _, bad := range []string{"proxy:3128", "socks5://proxy:1", "http://", "http://x/path", "http://x?y", "ht tp://secret@x", "//x"} {
		if _, err := Proxy(bad); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
