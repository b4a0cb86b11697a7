package sshd

import (
	"path/filepath"
	"strings"
)

// dropInText is the whole drop-in. `Match all` at its end closes the block for
// whatever the host's configuration says after the Include. From LogLevel
// VERBOSE on sshd names the certificates that it refuses; it is not among the
// managed settings, because no login depends on it.
const dropInText = `# Written by cardea-server-agent, which puts it back when it is changed.
# Accounts outside the group cardea-managed log in as they always did.
HostCertificate ` + CertificateFile + `
Match Group cardea-managed
	LogLevel VERBOSE
	AuthenticationMethods publickey
	PubkeyAuthentication yes
	PasswordAuthentication no
	KbdInteractiveAuthentication no
	TrustedUserCAKeys ` + UserCAFile + `
	RevokedKeys ` + RevokedFile + `
	AuthorizedPrincipalsFile ` + PrincipalsDir + `/%u
	AuthorizedPrincipalsCommand none
	AuthorizedKeysFile none
	AuthorizedKeysCommand none
Match all
`

// managedSettings is what `sshd -T -C` must say for a managed account.
var managedSettings = [...][2]string{
	{"authenticationmethods", "publickey"},
	{"pubkeyauthentication", "yes"},
	{"passwordauthentication", "no"},
	{"kbdinteractiveauthentication", "no"},
	{"trustedusercakeys", UserCAFile},
	{"revokedkeys", RevokedFile},
	{"authorizedprincipalsfile", PrincipalsDir + "/%u"},
	{"authorizedprincipalscommand", "none"},
	{"authorizedkeysfile", "none"},
	{"authorizedkeyscommand", "none"},
}

// includeText stands before the first line of a sshd_config that does not
// include the drop-in. It names the one file: a pattern would wake files of
// others that were asleep.
const includeText = "# The next line was added by cardea-server-agent.\nInclude " + DropIn + "\n"

// withInclude returns the configuration with the drop-in included before the
// first Match block: of several blocks that apply, sshd takes the first.
func withInclude(config string) string {
	if included(config) {
		return config
	}
	return includeText + config
}

func included(config string) bool {
	for line := range strings.Lines(config) {
		keyword, args := splitLine(line)
		switch keyword {
		case "match":
			return false
		case "include":
			for _, pattern := range args {
				if !filepath.IsAbs(pattern) {
					pattern = filepath.Join(filepath.Dir(ConfigFile), pattern)
				}
				if ok, err := filepath.Match(pattern, DropIn); err == nil && ok {
					return true
				}
			}
		}
	}
	return false
}

// splitLine gives the lower-case keyword and the arguments of a line of
// sshd_config(5): "Keyword args", "Keyword=args", with quotes around either.
func splitLine(line string) (keyword string, args []string) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return "", nil
	}
	end := strings.IndexAny(line, " \t=")
	if end < 0 {
		return strings.ToLower(strings.Trim(line, `"`)), nil
	}
	keyword = strings.ToLower(strings.Trim(line[:end], `"`))
	if keyword == "" {
		return "", nil
	}
	rest := strings.TrimLeft(line[end:], " \t")
	rest = strings.TrimPrefix(rest, "=")
	for rest = strings.TrimSpace(rest); rest != ""; rest = strings.TrimSpace(rest) {
		var arg string
		if rest[0] == '"' {
			arg, rest, _ = strings.Cut(rest[1:], `"`)
		} else if i := strings.IndexAny(rest, " \t"); i >= 0 {
			arg, rest = rest[:i], rest[i:]
		} else {
			arg, rest = rest, ""
		}
		if strings.HasPrefix(arg, "#") {
			break
		}
		args = append(args, arg)
	}
	return keyword, args
}

// effective is what `sshd -T` says: lower-case keyword to values, in order.
// Since 10.x sshd prints keywords as its manual writes them.
type effective map[string][]string

func parseEffective(out []byte) effective {
	e := effective{}
	for line := range strings.Lines(string(out)) {
		keyword, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		if keyword = strings.ToLower(keyword); keyword != "" {
			e[keyword] = append(e[keyword], value)
		}
	}
	return e
}

func (e effective) first(keyword string) string {
	if v := e[keyword]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// Port is the first port in the output of `sshd -T`, or "".
func Port(out []byte) string { return parseEffective(out).first("port") }
