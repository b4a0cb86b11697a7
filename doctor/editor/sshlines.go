package editor

import (
	"strings"
)

// Pitfall is a line of the user's own ssh configuration that a terminal gets along with, and
// an editor does not.
type Pitfall struct {
	Line     int
	Text     string // what the line does
	Cure     string
	Breaks   bool   // no editor connects while it is there
	Settings string // a setting of VS Code that makes it harmless, if there is one
}

// Pitfalls reads a configuration (ssh_config(5)) for lines that count for every server: those
// before the first Host, and those of "Host *" and "Match all".
func Pitfalls(text []byte, goos string) (out []Pitfall) {
	everywhere, master := true, 0
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		keyword, value := keywordOf(line)
		switch keyword {
		case "host":
			everywhere = hasStar(value)
		case "match":
			everywhere = strings.EqualFold(value, "all")
			if unbound(value) {
				out = append(out, Pitfall{Line: number, Text: "Match exec runs a program for every host, each time that an editor asks ssh about one",
					Cure: "name the hosts before it: Match host NAME exec …"})
			}
		case "remotecommand":
			if everywhere && !strings.EqualFold(value, "none") {
				out = append(out, Pitfall{Line: number, Breaks: true, Settings: "remote.SSH.enableRemoteCommand",
					Text: "RemoteCommand stands for every host, so an editor cannot run its own", Cure: "move it below a Host line with the names that it is for"})
			}
		case "controlmaster":
			if everywhere && !strings.EqualFold(value, "no") {
				master = number
			}
		case "controlpath":
			if everywhere && !strings.Contains(value, "%C") && !strings.Contains(value, "%h") && !strings.Contains(value, "%n") && !strings.Contains(value, "%k") && !strings.EqualFold(value, "none") {
				out = append(out, Pitfall{Line: number, Breaks: true, Text: "ControlPath names one socket for all servers, so the second connection ends on the first one's server",
					Cure: "write: ControlPath ~/.ssh/%C"})
			}
		}
	}
	if master > 0 && goos == "windows" {
		out = append(out, Pitfall{Line: master, Breaks: true, Text: "ControlMaster does not work on Windows", Cure: "remove that line"})
	}
	return out
}

func keywordOf(line string) (keyword, value string) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return "", ""
	}
	end := strings.IndexAny(line, " \t=")
	if end < 0 {
		return strings.ToLower(line), ""
	}
	value = strings.TrimLeft(line[end:], " \t")
	value = strings.TrimLeft(strings.TrimPrefix(value, "="), " \t")
	return strings.ToLower(line[:end]), value
}

func hasStar(patterns string) bool {
	for _, p := range strings.Fields(patterns) {
		if strings.Trim(p, `*"`) == "" {
			return true
		}
	}
	return false
}

// unbound reports whether a Match line runs a program before it has looked at the host: ssh
// takes the criteria in order, and leaves off at the first that does not hold.
func unbound(criteria string) bool {
	for _, c := range strings.Fields(strings.ToLower(criteria)) {
		c, _, _ = strings.Cut(strings.TrimPrefix(c, "!"), "=")
		switch c {
		case "host", "originalhost", "final", "canonical", "tagged", "user", "localuser":
			return false
		case "exec":
			return true
		}
	}
	return false
}
