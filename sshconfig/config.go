// Package sshconfig writes what Cardea puts into a user's ssh configuration and known_hosts
// file: values in, text out. It reads and writes no file and links next to nothing, because
// every ProxyCommand starts through a program that links it.
//
// The text is for many readers: OpenSSH from 8.4 on (ssh_config(5)), and the parsers of
// VS Code, Cursor, JetBrains and paramiko, which know Host lines with concrete names but
// not all of Match. So there is one Host line for each server, and no Match.
package sshconfig

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/cardea-ssh/cardea/internal/ident"
)

// Host is one server in the configuration.
type Host struct {
	// Names are what the user may type, at least one. The first goes to the ProxyCommand,
	// whichever was typed, so it must mean one server only.
	Names []string
	// HostKeyAlias is the only principal of the server's host certificate.
	HostKeyAlias string
	// Login is the user's account there.
	Login string
}

// Values are all that the configuration depends on. Paths are absolute.
type Values struct {
	Hosts       []Host
	Binary      string // of cardea, which runs as ProxyCommand
	AgentSocket string // of Cardea's own agent, never the user's
	KnownHosts  string // the file that KnownHosts fills
	// PassLogin hands the login that was typed to the ProxyCommand, which can then explain a
	// refusal. Set it to what SafeLogin says: old versions of ssh let a login with shell
	// characters through to the shell ("git clone ssh://$(…)@web-1/x").
	PassLogin bool
	// Fdpass says that the ProxyCommand passes a descriptor to ssh (ProxyUseFdpass).
	Fdpass bool
	// Files is a folder with the key and the certificate that stand in the agent's place, for
	// programs that know none; empty for the agent.
	Files string
	// Via is the id of a server through which the ProxyCommand shall go; empty for none.
	Via string
	// UserAgentSocket is that of the user's own agent, for "ssh -A". Without it -A forwards
	// the socket of Cardea's agent, which refuses all forwarded use. Give it only while it
	// exists: ssh complains at every connection about one that does not. (ssh's own
	// $SSH_AUTH_SOCK would be Cardea's here, and ${SSH_AUTH_SOCK} is fatal where it is not set.)
	UserAgentSocket string
	// ForwardAgent forwards the user's own agent to these servers without being asked.
	ForwardAgent bool
}

// sharedPer is how many servers share one block of common settings. OpenSSH's time for one
// Host line grows with the square of its names, so one line of 5,000 costs 80 ms; too short
// ones repeat the block too often. 5,000 servers, 9.2p1: 64 names 16 ms, 128 14 ms, 256 15 ms.
const sharedPer = 128

// Config writes the whole file that Include names. Servers come sorted by name, so that the
// same values give the same bytes. A value that could mean something else to ssh or to the
// shell is an error.
func Config(v Values) ([]byte, error) {
	command, err := ProxyCommand(v)
	if err != nil {
		return nil, err
	}
	hosts := slices.Clone(v.Hosts)
	for _, h := range hosts {
		if err := h.check(); err != nil {
			return nil, err
		}
	}
	if err := unique(hosts); err != nil {
		return nil, err
	}
	slices.SortFunc(hosts, func(a, b Host) int { return strings.Compare(a.Names[0], b.Names[0]) })
	lines, err := shared(v, command)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString("# Written by cardea and kept up to date by it: what you change here is lost.\n" +
		"# Your own settings belong into ~/.ssh/config; \"cardea ssh-config --help\" tells more.\n")
	for chunk := range slices.Chunk(hosts, sharedPer) {
		writeChunk(&b, chunk, lines)
	}
	return b.Bytes(), nil
}

// writeChunk writes some servers, and then what is the same for all of them; nearly always
// that is the login, too. ssh reads every line of the file at every start: a login in its
// own line at each of 5,000 servers, and an empty line before each, cost it 3 ms.
func writeChunk(b *bytes.Buffer, chunk []Host, settings []string) {
	login := chunk[0].Login
	alike := !slices.ContainsFunc(chunk, func(h Host) bool { return h.Login != login })
	b.WriteString("\n")
	var all []string
	for _, h := range chunk {
		fmt.Fprintf(b, "Host %s\n  HostName %s\n  HostKeyAlias %s\n", strings.Join(h.Names, " "), h.Names[0], h.HostKeyAlias)
		if !alike {
			fmt.Fprintf(b, "  User %s\n", h.Login)
		}
		all = append(all, h.Names...)
	}
	if alike {
		settings = append([]string{"User " + login}, settings...)
	}
	fmt.Fprintf(b, "Host %s\n  %s\n", strings.Join(all, " "), strings.Join(settings, "\n  "))
}

// shared is the block of settings that is the same for every server. ssh takes the first
// value that it finds, and this file is included first, so what stands here also protects
// these servers from a "Host *" of the user's own.
func shared(v Values, command string) ([]string, error) {
	identity, err := identity(v)
	if err != nil {
		return nil, err
	}
	known, err := argument(v.KnownHosts)
	if err != nil {
		return nil, fmt.Errorf("known_hosts file: %w", err)
	}
	lines := []string{
		"ProxyCommand " + command,
		"Port 22",
		"CanonicalizeHostname no",
		// A host key counts if the team's CA signed it for this server, and never otherwise.
		"UserKnownHostsFile " + known,
		"GlobalKnownHostsFile /dev/null",
		"StrictHostKeyChecking yes",
		"HostKeyAlgorithms ssh-ed25519-cert-v01@openssh.com",
		"CheckHostIP no",
		"UpdateHostKeys no",
	}
	lines = append(append(lines, identity...),
		"PubkeyAuthentication yes",
		"PreferredAuthentications publickey",
		// AES-GCM costs half of what chacha20 does on any CPU with AES instructions.
		"Ciphers ^aes128-gcm@openssh.com")
	forward, err := forwarding(v)
	if err != nil {
		return nil, err
	}
	lines = append(lines, forward...)
	if v.Fdpass {
		lines = append(lines, "ProxyUseFdpass yes")
	}
	return lines, nil
}

// The names within Values.Files.
const (
	LentKey         = "id"
	LentCertificate = "id-cert.pub" // where OpenSSH and paramiko look for that of LentKey
	LentKnownHosts  = "known_hosts"
	LentConfig      = "config"
)

// identity says what a user shows. The agent offers the one certificate of this connection;
// no file of the user's own is of use here, and no password ever is.
func identity(v Values) ([]string, error) {
	if v.Files == "" {
		agent, err := argument(v.AgentSocket)
		if err != nil {
			return nil, fmt.Errorf("agent socket: %w", err)
		}
		return []string{"IdentityAgent " + agent, "IdentityFile none", "IdentitiesOnly no"}, nil
	}
	key, err := argument(filepath.Join(v.Files, LentKey))
	if err != nil {
		return nil, fmt.Errorf("folder of the files: %w", err)
	}
	certificate, err := argument(filepath.Join(v.Files, LentCertificate))
	return []string{"IdentityAgent none", "IdentityFile " + key, "CertificateFile " + certificate, "IdentitiesOnly yes"}, err
}

// Options are what Config says about one server, each as the argument of an -o of ssh: for
// a connection whose user has not included the file. v.Hosts is not looked at.
func Options(v Values, h Host) ([]string, error) {
	if err := h.check(); err != nil {
		return nil, err
	}
	command, err := ProxyCommand(v)
	if err != nil {
		return nil, err
	}
	lines, err := shared(v, command)
	if err != nil {
		return nil, err
	}
	return append([]string{"HostName " + h.Names[0], "HostKeyAlias " + h.HostKeyAlias, "User " + h.Login}, lines...), nil
}

// forwarding switches it off by its first line. The second names the socket for those who
// ask for it with -A, since ssh keeps the first value of switch and path apart.
func forwarding(v Values) ([]string, error) {
	if v.UserAgentSocket == "" || v.UserAgentSocket == v.AgentSocket {
		return []string{"ForwardAgent no"}, nil
	}
	own, err := argument(v.UserAgentSocket)
	if err != nil {
		return nil, fmt.Errorf("socket of your own agent: %w", err)
	}
	if v.ForwardAgent {
		return []string{"ForwardAgent " + own}, nil
	}
	return []string{"ForwardAgent no", "ForwardAgent " + own}, nil
}

// ProxyCommand is the value of that option, which ssh hands to the user's shell. %h is the
// HostName that Config wrote; only %r is somebody else's text, hence PassLogin.
func ProxyCommand(v Values) (string, error) {
	if err := checkPath(v.Binary); err != nil {
		return "", fmt.Errorf("path of the program: %w", err)
	}
	command := `"` + strings.ReplaceAll(v.Binary, "%", "%%") + `" proxycommand`
	if v.Fdpass {
		command += " --fdpass"
	}
	if v.Via != "" {
		if err := ident.Check(v.Via, ident.Server); err != nil {
			return "", err
		}
		command += " --via " + v.Via
	}
	if v.Files != "" {
		if err := checkPath(v.Files); err != nil {
			return "", fmt.Errorf("folder of the files: %w", err)
		}
		command += ` --files "` + strings.ReplaceAll(v.Files, "%", "%%") + `"`
	}
	command += " %h %p"
	if v.PassLogin {
		command += " %r"
	}
	return command, nil
}

func (h Host) check() error {
	if len(h.Names) == 0 {
		return errors.New("a server without a name")
	}
	for _, n := range h.Names {
		if err := ident.ServerName(n); err != nil {
			return err
		}
	}
	if err := ident.Login(h.Login); err != nil {
		return fmt.Errorf("server %s: %w", h.Names[0], err)
	}
	return checkAlias(h.HostKeyAlias)
}

// checkAlias takes what known_hosts and HostKeyAlias read as one plain name.
func checkAlias(s string) error {
	if s == "" || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789._-") != "" || s[0] == '-' {
		return fmt.Errorf("%.80q cannot be the alias of a host key", s)
	}
	return nil
}

// unique refuses a name that stands for two servers: ssh would silently take the first.
func unique(hosts []Host) error {
	seen := make(map[string]string, len(hosts))
	for _, h := range hosts {
		for _, n := range h.Names {
			if other, twice := seen[n]; twice {
				return fmt.Errorf("name %s stands for two servers, %s and %s", n, other, h.HostKeyAlias)
			}
			seen[n] = h.HostKeyAlias
		}
	}
	return nil
}

// quoted are the characters for which a path stands in double quotes: what parts words or
// begins a comment for ssh, or for one of the other readers.
const quoted = " \t'#="

// argument writes a path as one argument of a configuration line. ssh expands % and ~ and
// ${…} in these, and takes blanks within double quotes. On Windows it takes slashes for
// backslashes, of which it reads two as one since version 8.7: no pipe is called so.
func argument(path string) (string, error) {
	if err := checkPath(path); err != nil {
		return "", err
	}
	path = strings.ReplaceAll(filepath.ToSlash(path), "%", "%%")
	if strings.ContainsAny(path, quoted) {
		return `"` + path + `"`, nil
	}
	return path, nil
}

// checkPath refuses what ends double quotes, or means something within them, for ssh or for
// any shell. A backslash is a separator on Windows and nothing good elsewhere.
func checkPath(path string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("%.200q is not an absolute path", path)
	}
	return checkLetters(path)
}

func checkLetters(path string) error {
	bad := "\"$`!"
	if runtime.GOOS != "windows" {
		bad += `\`
	}
	for _, r := range path {
		if r < ' ' || r == 0x7f || strings.ContainsRune(bad, r) {
			return fmt.Errorf("%.200q has a character that ssh or a shell could read as more than a path; move it elsewhere", path)
		}
	}
	return nil
}
