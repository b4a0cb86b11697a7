package sshconfig

import (
	"bufio"
	"bytes"
	"strings"
)

const (
	// maxIncludeDepth is OpenSSH's own limit (READCONF_MAX_DEPTH).
	maxIncludeDepth = 16
	// maxOwnLine bounds a line of the user's configuration; longer ones end the reading.
	maxOwnLine = 1 << 20
)

// Own knows the host names that a user's own configuration already uses.
type Own struct {
	names    map[string]bool
	patterns [][]string // of blocks that say where to go
}

// OwnHosts reads a user's ssh configuration as OpenSSH does (ssh_config(5)), as far as the
// names of hosts go. open returns the contents of the files that an Include argument
// matches; nil means that none is followed. The file that Cardea writes must not be among
// them. It never fails: what it does not understand it skips, as nothing depends on it but
// a warning.
func OwnHosts(config []byte, open func(pattern string) [][]byte) *Own {
	o := &Own{names: map[string]bool{}}
	o.read(config, open, 0)
	return o
}

// Uses reports whether the user's configuration is already about name: a Host or Match line
// has it literally, or a pattern such as web-* does and its block says where to go
// (HostName, ProxyCommand, ProxyJump). "Host *" alone is about no host in particular.
func (o *Own) Uses(name string) bool {
	if o.names[strings.ToLower(name)] {
		return true
	}
	for _, p := range o.patterns {
		if matchList(p, strings.ToLower(name)) {
			return true
		}
	}
	return false
}

func (o *Own) read(config []byte, open func(string) [][]byte, depth int) {
	if depth > maxIncludeDepth {
		return
	}
	var block []string // patterns of the Host or Match line above
	lines := bufio.NewScanner(bytes.NewReader(config))
	lines.Buffer(nil, maxOwnLine)
	for lines.Scan() {
		keyword, args := fields(lines.Text())
		switch keyword {
		case "host":
			block = o.note(args)
		case "match":
			block = o.note(matchHosts(args))
		case "hostname", "proxycommand", "proxyjump":
			if block != nil && !everything(block) {
				o.patterns = append(o.patterns, block)
				block = nil
			}
		case "include":
			for _, arg := range args {
				if open == nil {
					break
				}
				for _, content := range open(arg) {
					o.read(content, open, depth+1)
				}
			}
		}
	}
}

// note keeps the literal names among patterns and returns the patterns.
func (o *Own) note(patterns []string) []string {
	for i, p := range patterns {
		p = strings.ToLower(p)
		patterns[i] = p
		if !strings.ContainsAny(p, "*?!") {
			o.names[p] = true
		}
	}
	return patterns
}

// matchHosts picks the host patterns of a Match line: "host a,b" and "originalhost a,b".
func matchHosts(args []string) (patterns []string) {
	for i, arg := range args {
		criterion, value, _ := strings.Cut(strings.ToLower(arg), "=")
		if criterion != "host" && criterion != "originalhost" {
			continue
		}
		if value == "" && i+1 < len(args) {
			value = args[i+1]
		}
		patterns = append(patterns, strings.Split(value, ",")...)
	}
	return patterns
}

// fields splits a line into its keyword, in lower case, and its arguments: blanks and one
// equals sign separate, double quotes hold together, and # begins a comment.
func fields(line string) (keyword string, args []string) {
	line = strings.TrimLeft(strings.TrimRight(line, "\r"), " \t\f")
	end := strings.IndexAny(line, " \t=")
	if line == "" || line[0] == '#' || end < 0 {
		return "", nil
	}
	keyword, line = strings.ToLower(line[:end]), strings.TrimLeft(line[end:], " \t")
	line = strings.TrimLeft(strings.TrimPrefix(line, "="), " \t")
	for line != "" && line[0] != '#' {
		var arg string
		if line[0] == '"' {
			arg, line, _ = strings.Cut(line[1:], `"`)
		} else if end := strings.IndexAny(line, " \t"); end >= 0 {
			arg, line = line[:end], line[end:]
		} else {
			arg, line = line, ""
		}
		args = append(args, arg)
		line = strings.TrimLeft(line, " \t")
	}
	return keyword, args
}

// everything reports whether some pattern matches any name at all.
func everything(patterns []string) bool {
	for _, p := range patterns {
		if p != "" && strings.Trim(p, "*") == "" {
			return true
		}
	}
	return false
}

// matchList is OpenSSH's: some pattern matches, and no negated one does.
func matchList(patterns []string, name string) bool {
	matched := false
	for _, p := range patterns {
		negated := strings.HasPrefix(p, "!")
		if matchPattern(strings.TrimPrefix(p, "!"), name) {
			if negated {
				return false
			}
			matched = true
		}
	}
	return matched
}

// matchPattern knows * and ? and nothing else. It goes back to the last star only, so its
// time is bounded by the product of both lengths.
func matchPattern(pattern, name string) bool {
	star, mark, p, n := -1, 0, 0, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			p, n = p+1, n+1
		case star >= 0:
			mark++
			p, n = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
