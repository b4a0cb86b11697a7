package sftd

import (
	"fmt"
	"slices"
	"strings"
)

// key is one of theirs, and what becomes of it.
type key struct {
	name string
	// to is our key; "" means that there is none, and why says why.
	to, why string
	// note goes with a setting that was carried over.
	note string
	// standard is the value that the key has there by default.
	standard string
	// many: values that cannot be used are left out one by one.
	many bool
	// turn makes our text of theirs.
	turn func(string) string
}

// keys is a function and not a variable, so that nobody can change it.
func keys() []key {
	const proposal = "a proposal, which an administrator or the token must allow"
	return []key{
		{name: "AccessAddress", to: "access_address"},
		{name: "AccessInterface", to: "access_interface"},
		{name: "CanonicalName", to: "hostname", turn: strings.ToLower, note: proposal},
		{name: "AltNames", to: "alt_names", turn: strings.ToLower, note: proposal, many: true},
		{name: "Bastion", to: "bastion", note: proposal},
		{name: "Labels", to: "host_labels", many: true,
			note: "shown and searched below host/; what grants select by comes from an administrator or the token"},
		{name: "LogLevel", to: "log_level", turn: level},
		{name: "ForwardProxy", to: "https_proxy"},

		{name: "AutoEnroll", standard: "true",
			why: "the agent enrols when it finds a token, and else waits for one"},
		{name: "EnrollmentTokenFile", standard: "/var/lib/sftd/enrollment.token",
			why: "a token of the other product lets nobody in here; make one with `cardea admin tokens create --kind server --project PROJECT`"},
		{name: "EnrollmentToken",
			why: "a token of the other product lets nobody in here; make one with `cardea admin tokens create --kind server --project PROJECT`"},
		{name: "InitialURL",
			why: "it is the other product's; control_url is the URL of your control plane"},
		{name: "ServerFile", standard: "/var/lib/sftd/device.server", why: "the identity of the server is in state_dir"},
		{name: "TokenFile", standard: "/var/lib/sftd/device.token", why: "the identity of the server is in state_dir; token_file is another thing here, the enrolment token"},
		{name: "BufferFile", standard: "/var/lib/sftd/buffer.db", why: "what waits to be reported is in state_dir"},
		{name: "SSHDConfigFile", standard: "/etc/ssh/sshd_config",
			why: "it is always /etc/ssh/sshd_config, to which one Include is added if it has none"},
		{name: "SSHDPort", standard: "22", why: "sshd is asked on which ports it listens"},
		{name: "TrustedUserCAKeysFile", standard: "/var/lib/sftd/ssh_ca.pub", why: "the keys of CAs are in /etc/ssh/cardea, and hold for managed accounts alone"},
	}
}

// families explain keys that the documents name only in part.
func families() [][2]string {
	return [][2]string{
		{"Broker", "there is no broker here: accounts are made by the agent, and people meet sshd itself"},
		{"RDP", "it is for Windows, where this agent does not run"},
		{"Desktop", "it is for Windows, where this agent does not run"},
		{"Windows", "it is for Windows, where this agent does not run"},
		{"Sudo", "sudo rules are in /etc/sudoers.d, and come from the grants of the control plane"},
	}
}

// find takes a key as it is written; that program is strict about capitals too, but who
// wrote another case meant the same.
func find(name string) (key, bool) {
	all := keys()
	i := slices.IndexFunc(all, func(k key) bool { return strings.EqualFold(k.name, name) })
	if i >= 0 {
		return all[i], true
	}
	for _, f := range families() {
		if strings.Contains(name, f[0]) {
			return key{name: name, why: f[1]}, true
		}
	}
	return key{}, false
}

// unknown names the key that may have been meant.
func unknown(name string) string {
	for _, k := range keys() {
		if strings.EqualFold(strings.NewReplacer("_", "", "-", "").Replace(name), k.name) {
			return fmt.Sprintf("it is unknown there too, where %s is written so", k.name)
		}
	}
	return "it is in no document of that product, and nothing is known of it here"
}

func level(s string) string {
	if s = strings.ToLower(s); s == "warning" {
		return "warn"
	}
	return s
}
