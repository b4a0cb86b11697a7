package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/gateway/spool"
	"github.com/cardea-ssh/cardea/internal/ident"
)

// Import finishes, stores and tells of all that is in the spool of a gateway which is
// gone: dir is its spool, or its state folder. It ends when nothing is left, or ctx
// ends; what was done by then stays done, and it can be done again. Each recording
// that is stored is a line to out.
//
// The recordings keep their names. Their ends, where there is none yet, are signed by
// this gateway's key.
func Import(ctx context.Context, gateway, stateDir, dir string, opt RecordingOptions, client *api.Client, out io.Writer, log *slog.Logger) error {
	if below := filepath.Join(dir, SpoolDir); isDir(below) {
		dir = below
	}
	if !isDir(dir) {
		return fmt.Errorf("there is no folder %s; give the state folder of the gateway that is gone, or its spool", dir)
	}
	is, err := spool.Is(dir)
	if err != nil {
		return err
	}
	if !is {
		return fmt.Errorf("%s is no spool, and has none in it; give the state folder of the gateway that is gone, or its spool", dir)
	}
	opt.Spool = dir
	r, err := NewRecorders(gateway, stateDir, opt, client, log)
	if err != nil {
		return fmt.Errorf("%w; copy the spool to a disk that can be written", err)
	}
	if r.key() == nil {
		return errors.Join(errors.New("this gateway has no recording key yet: start it once, so that the control plane has its key"), r.spool.Close())
	}
	aside := r.spool.Figures().Quarantined
	r.told = func(j spool.Job) {
		if j.Report.State == api.RecordingStored || j.Report.State == api.RecordingDamaged {
			fmt.Fprintf(out, "%s  %s  %d segments, %d bytes, %s  %s\n", j.Session, j.Report.State, j.Report.Segments, j.Report.Bytes, ident.Text(j.Report.Cause), j.Report.Place)
		}
	}
	r.adopt()
	r.runUntilDone(ctx, r.stuck)
	f := r.spool.Figures()
	left := len(r.spool.Jobs(r.key()))
	denied := r.denied
	if err := r.spool.Close(); err != nil {
		return err
	}
	for session, why := range denied {
		return fmt.Errorf("the control plane does not take the recording of %s, which stays in %s: %w", session, dir, why)
	}
	switch {
	case left > 0:
		return fmt.Errorf("not all of %s is stored; type the same again", dir)
	case f.Quarantined > aside:
		return fmt.Errorf("some of it is damaged and was set aside in %s", filepath.Join(dir, "quarantine"))
	}
	return nil
}

// stuck says that nothing is left but what the control plane does not take.
func (r *Recorders) stuck() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, j := range r.spool.Jobs(r.key()) {
		if j.Do != spool.Tell || r.denied[j.Session] == nil {
			return false
		}
	}
	return r.waiting.Load() == 0
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
