package spool

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cardea-ssh/cardea/internal/ident"
)

// Found is a recording in a spool of which nothing is believed yet.
type Found struct {
	Session string
	// Origin is what its meta.json says; only Session where that cannot be read.
	Origin Origin
	// Live says that a process looks after it.
	Live bool
	// Aside says that it is in quarantine as a whole, of which nobody has told.
	Aside bool
}

// Look lists the recordings in a spool by their names, and changes nothing: whoever has the
// spool of another gateway asks first whose they are.
func Look(dir string) ([]Found, error) {
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []Found
	for _, n := range names {
		if !n.IsDir() || ident.Check(n.Name(), ident.GatewaySession) != nil {
			continue
		}
		f := Found{Session: n.Name(), Origin: Origin{Session: n.Name()}}
		if m, err := readMeta(filepath.Join(dir, n.Name())); err == nil {
			f.Origin, f.Live = m.Origin, alive(dir, m.Owner)
		}
		out = append(out, f)
	}
	for session := range untoldIn(dir) {
		if ident.Check(session, ident.GatewaySession) == nil {
			out = append(out, Found{Session: session, Origin: Origin{Session: session}, Aside: true})
		}
	}
	return out, nil
}

// untoldIn are the recordings in quarantine of which the control plane is to hear, and their
// folders.
func untoldIn(dir string) map[string]string {
	out := map[string]string{}
	for _, n := range asideIn(dir) {
		folder := filepath.Join(dir, quarantineDir, n.Name())
		if session, _, _ := strings.Cut(n.Name(), "."); exists(filepath.Join(folder, untoldFile)) {
			out[session] = folder
		}
	}
	return out
}

// asideIn is what is in the quarantine.
func asideIn(dir string) []fs.DirEntry {
	names, _ := os.ReadDir(filepath.Join(dir, quarantineDir))
	return names
}

// mine says whether this process may do something for a session's recording.
func (s *Spool) mine(session string) bool { return s.opt.Only == nil || s.opt.Only(session) }
