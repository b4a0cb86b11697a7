package fleet

import (
	"fmt"
	"strings"
	"testing"
)

func TestAddressesThatAnAdministratorMayGive(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.7:22":                   "10.0.0.7:22",
		"127.0.0.1:2222":                "127.0.0.1:2222", // his word is explicit
		"web-1.example.com:22":          "web-1.example.com:22",
		"web-1:022":                     "web-1:22",
		"[2001:db8::7]:22":              "[2001:db8::7]:22",
		"[2001:0db8:0:0::7]:22":         "[2001:db8::7]:22",
		"[::ffff:10.0.0.7]:22":          "10.0.0.7:22",
		"":                              "",
		"10.0.0.7":                      "",
		"10.0.0.7:0":                    "",
		"10.0.0.7:65535":                "10.0.0.7:65535",
		"10.0.0.7:65536":                "",
		"10.0.0.7:ssh":                  "",
		"10.0.0.7:-1":                   "",
		"0.0.0.0:22":                    "",
		"[::]:22":                       "",
		"224.0.0.1:22":                  "",
		"255.255.255.255:22":            "",
		"[fe80::1%eth0]:22":             "",
		":22":                           "",
		"-oProxyCommand=x:22":           "",
		"a b:22":                        "",
		"web-1\n:22":                    "",
		"localhost:22":                  "",
		"0x7f000001:22":                 "",
		"2130706433:22":                 "",
		"127.1:22":                      "",
		"$(id):22":                      "",
		strings.Repeat("a", 64) + ":22": "",
	} {
		got, err := checkAddress(in, serverExample)
		if got != want || (want == "") != (err != nil) {
			t.Errorf("%q: got %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestWhatAMachineMayNotProposeForItself(t *testing.T) {
	for _, in := range []string{"127.0.0.1:22", "[::1]:22", "127.9.9.9:22", "169.254.169.254:80", "[fe80::1]:22", "[fd00:ec2::254]:80", "[::ffff:127.0.0.1]:22", "localhost:22"} {
		if got, err := checkProposal(in); err == nil {
			t.Errorf("%q was taken as %q", in, got)
		}
	}
	if got, err := checkProposal("10.0.0.7:22"); err != nil || got != "10.0.0.7:22" {
		t.Errorf("a private address: %q, %v", got, err)
	}
}

func TestEgressAddresses(t *testing.T) {
	for in, want := range map[string]string{
		"198.51.100.1": "198.51.100.1", "198.51.100.77/24": "198.51.100.0/24", "2001:db8::/32": "2001:db8::/32",
		"10.0.0.0/8": "10.0.0.0/8", "10.0.0.0/7": "", "2001:db8::/16": "2001::/16", "2001::/15": "",
		"0.0.0.0/0": "", "::/0": "", "0.0.0.0": "", "::": "", "gw.example.com": "", "*": "", "!10.0.0.1": "", "10.0.0.1,10.0.0.2": "", "fe80::1%eth0": "",
		"::ffff:10.0.0.1": "10.0.0.1", "::ffff:10.0.0.0/104": "",
	} {
		got, err := checkEgress([]string{in})
		if (err != nil) != (want == "") || err == nil && got[0] != want {
			t.Errorf("%q: got %q, %v; want %q", in, got, err, want)
		}
	}
	full := make([]string, MaxEgress)
	for i := range full {
		full[i] = fmt.Sprintf("198.51.100.%d", i)
	}
	if _, err := checkEgress(full); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	if _, err := checkEgress(append(full, "198.51.100.200")); err == nil {
		t.Error("one above the limit was taken")
	}
}

func TestLabels(t *testing.T) {
	labels := map[string]string{}
	for i := range MaxLabels {
		labels[fmt.Sprintf("k%d", i)] = "v"
	}
	if err := checkLabels(labels); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	if _, err := hostLabels(labels); err != nil {
		t.Errorf("of the host, at the limit: %v", err)
	}
	labels["one"] = "more"
	if checkLabels(labels) == nil {
		t.Error("one above the limit was taken")
	}
	if _, err := hostLabels(labels); err == nil {
		t.Error("of the host, one above the limit was taken")
	}
	for _, bad := range []map[string]string{{"host/os": "x"}, {"Env": "x"}, {"env": "<script>"}, {"env": "a b"}, {"e=v": "x"}, {"": "x"}, {"env": ""}} {
		if checkLabels(bad) == nil {
			t.Errorf("%v was taken", bad)
		}
	}
	got, err := hostLabels(map[string]string{"host/os": "debian", "arch": "arm64"})
	if err != nil || got["os"] != "debian" || got["arch"] != "arm64" {
		t.Errorf("host's own: %v, %v", got, err)
	}
}

func TestAHostProposesNoDomain(t *testing.T) {
	for in, want := range map[string]string{
		"web-1": "web-1", "web-1.example.com": "web-1", "github.com": "github", "": "", ".": "", "localhost": "", "Web-1": "",
		"-x": "", "a b": "", "1": "", "x;id": "", "é": "",
	} {
		got, err := proposedName(in)
		if (err != nil) != (want == "") || err == nil && got != want {
			t.Errorf("%q: got %q, %v; want %q", in, got, err, want)
		}
	}
}
