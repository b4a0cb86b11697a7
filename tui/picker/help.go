package picker

import "github.com/cardea-ssh/cardea/tui/draw"

// keys is the line at the bottom.
func (m *Model) keys(width int) string {
	k := draw.Key
	switch m.mode {
	case filtering:
		return m.look.Help(width, k("enter", "connect"), k("esc", "show all"), k("tab", "keep"), k("↑↓", "move"), k("env=prod project:web", "too"))
	case asking:
		return m.look.Help(width, k("enter", "go"), k("esc", "back"))
	case helping:
		return m.look.Help(width, k("any key", "back"))
	case failed:
		return m.look.Help(width, k("any key", "back"), k("q", "quit"))
	case signedOut:
		if m.nowhere {
			return m.look.Help(width, k("q", "quit"), k("ctrl+r", "look again"))
		}
		return m.look.Help(width, k("enter", "sign in"), k("q", "quit"), k("ctrl+r", "look again"))
	}
	if m.wires.Question != "" {
		return m.look.Help(width, k("enter", "this one"), k("esc", "none"), k("↑↓", "move"), k("/", "filter"))
	}
	hints := []draw.Hint{k("enter", "connect"), k("/", "filter"), k("?", "help")}
	if !m.query.Empty() {
		hints = []draw.Hint{k("enter", "connect"), k("esc", "show all"), k("?", "help"), k("/", "filter")}
	}
	hints = append(hints, k("q", "quit"), k("space", "mark"))
	if !m.beside() {
		hints = append(hints, k("i", "details"))
	}
	hints = append(hints, k("c", "copy"), k("f", "forward"))
	if m.can(Run) {
		hints = append(hints, k("e", "run"))
	}
	if m.can(Panes) {
		hints = append(hints, k("t", "panes"))
	}
	return m.look.Help(width, append(hints, k("*", "favourite"), k("r", "request"), k("R", "recordings"))...)
}

// help is the whole list of keys.
func (m *Model) help(width, room int) []string {
	type key struct {
		key, does string
		verb      Verb
	}
	keys := []key{
		{"enter", "connect; when the session is over you are here again", ""},
		{"/", "filter: letters of names and projects in their order, words in labels, env=prod, env!=prod, project:web", ""},
		{"esc", "take back the filter, then the marks; then leave", ""},
		{"q", "leave", ""},
		{"↑ ↓  j k", "move; PgUp, PgDn, g and G by pages and to the ends", ""},
		{"space", "mark, for e and t", ""},
		{"* or b", "favourite, or no longer; favourites stand first, then what you use", ""},
		{"i or tab", "details: why you may enter, labels, when it was seen", ""},
		{"c", "copy the command that connects", ""},
		{"f", "forward a port", Forward},
		{"e", "run a command on all that are marked", Run},
		{"t", "open all that are marked in panes of tmux", Panes},
		{"r", "ask for access to something", Request},
		{"a", "requests: your own, and those that wait for your answer", ""},
		{"R", "recorded sessions: yours, and those on this server; from there they are played", ""},
		{"ctrl+r", "load anew", ""},
		{"mouse", "a click chooses, a second one connects; the wheel moves", ""},
	}
	var can []draw.Hint
	for _, k := range keys {
		if k.verb == "" || m.can(k.verb) {
			can = append(can, draw.Key(k.key, k.does))
		}
	}
	return m.look.Keys(width, room, 3, can...)
}
