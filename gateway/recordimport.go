package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/gateway/spool"
	"github.com/cardea-ssh/cardea/internal/ident"
)

// Import finishes, stores and tells of all that is in the spool of a gateway which is
// gone: dir is its spool, or its state folder. It ends when nothing is left, or ctx
// ends; what was done by then stays done, and it can be done again. Each recording
// is a line to out.
//
// A disk may come from anywhere. So the control plane is asked about each session before
// anything is changed or stored, and what it does not know, or what was not handed over to
// this gateway, is left alone.
//
// The recordings keep their names. Their ends, where there is none yet, are signed by
// this gateway's key.
func Import(ctx context.Context, gateway, stateDir, dir string, opt RecordingOptions, client *api.Client, out io.Writer, log *slog.Logger) error {
	dir, err := spoolBelow(dir)
	if err != nil {
		return err
	}
	found, err := spool.Look(dir)
	if err != nil {
		return mayNot(err, dir)
	}
	keys, err := loadRecordKeys(stateDir)
	if err != nil {
		return err
	}
	if _, err := keys.signing(); err != nil {
		return errors.New("this gateway has no recording key yet: start it once, so that the control plane has its key")
	}
	ours, err := askWhose(ctx, client, found, out)
	if err != nil {
		return fmt.Errorf("%w; nothing was changed, type the same again", err)
	}
	if len(found) == 0 {
		fmt.Fprintf(out, "nothing to do: there is no recording in %s\n", dir)
		return nil
	}
	if len(ours) > 0 {
		opt.Spool = dir
		r, err := newRecorders(gateway, stateDir, opt, func(session string) bool { return ours[session] }, client, log)
		if err != nil {
			return fmt.Errorf("%w; copy the spool to a disk that can be written", err)
		}
		if err := r.importAll(ctx, dir, out); err != nil {
			return err
		}
		if err := stillThere(dir, ours); err != nil {
			return err
		}
	}
	if left := len(found) - len(ours); left > 0 {
		return fmt.Errorf("%d of %d recordings were left alone in %s, as said", left, len(found), dir)
	}
	return nil
}

// spoolBelow is the spool that somebody means by a folder.
func spoolBelow(dir string) (string, error) {
	if below := filepath.Join(dir, SpoolDir); isDir(below) {
		dir = below
	}
	if !isDir(dir) {
		return "", fmt.Errorf("there is no folder %s; give the state folder of the gateway that is gone, or its spool", dir)
	}
	is, err := spool.Is(dir)
	if err == nil && !is {
		err = fmt.Errorf("%s is no spool, and has none in it; give the state folder of the gateway that is gone, or its spool", dir)
	}
	return dir, mayNot(err, dir)
}

// mayNot adds what to do where a folder is closed to this user. The user of the service has
// not the same number on every machine.
func mayNot(err error, dir string) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w; it must belong to the user that this gateway runs as, so type as root: chown -R cardea-gateway: %s", err, dir)
	}
	return err
}

// askWhose asks the control plane about each session that was found, and says which may be
// imported. The others are a line to out. An error means that it gave no answer.
func askWhose(ctx context.Context, client *api.Client, found []spool.Found, out io.Writer) (map[string]bool, error) {
	ours := map[string]bool{}
	for _, f := range found {
		why, err := notOurs(ctx, client, f)
		if err != nil {
			return nil, fmt.Errorf("ask the control plane about %s: %w", f.Session, err)
		}
		if why == "" {
			ours[f.Session] = true
			continue
		}
		fmt.Fprintf(out, "%s  left alone  %s\n", f.Session, why)
	}
	return ours, nil
}

// notOurs says why a recording is left alone, or nothing.
func notOurs(ctx context.Context, client *api.Client, f spool.Found) (string, error) {
	if f.Live {
		return "a gateway that runs looks after it", nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var held api.HeldRecording
	_, err := client.Get(ctx, claimPath+"/"+url.PathEscape(f.Session)+"/recording", nil, &held)
	switch api.KindOf(err) {
	case api.NotFound:
		return "the control plane knows of no such recording", nil
	case api.Denied, api.Conflict:
		return err.Error(), nil
	}
	o := f.Origin
	switch {
	case err != nil:
		return "", err
	case held.Session != f.Session:
		return "", errors.New("its answer is of another session")
	case o.Gateway == "": // it cannot be read, and is only set aside
		return "", nil
	case held.Gateway != o.Gateway:
		return fmt.Sprintf("it says that gateway %s made it, and the control plane that %s did", ident.Text(o.Gateway), ident.Text(held.Gateway)), nil
	case held.Project != o.Project, held.Place != "" && held.Place != o.Place():
		return fmt.Sprintf("it would be stored in %s, where it does not belong", ident.Text(o.Place())), nil
	}
	return "", nil
}

// importAll does it for those that are ours.
func (r *Recorders) importAll(ctx context.Context, dir string, out io.Writer) error {
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

// stillThere counts what was to be imported and is where it was: a folder that could not
// even be read, or moved, is no job that anything waits for.
func stillThere(dir string, ours map[string]bool) error {
	found, err := spool.Look(dir)
	if err != nil {
		return err
	}
	found = slices.DeleteFunc(found, func(f spool.Found) bool { return f.Aside || !ours[f.Session] })
	if len(found) == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d recordings could not be taken over, as the log says; see to it that all of %s belongs to the user that this gateway runs as, and type the same again",
		len(found), len(ours), dir)
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
