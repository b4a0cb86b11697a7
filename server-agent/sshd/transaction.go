package sshd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/cardea-ssh/cardea/internal/atomicfile"
)

// saved is one file as it was, byte for byte.
type saved struct {
	Path   string      `json:"path"`
	Exists bool        `json:"exists"`
	Data   []byte      `json:"data,omitempty"`
	Mode   fs.FileMode `json:"mode,omitempty"`
	UID    int         `json:"uid,omitempty"`
	GID    int         `json:"gid,omitempty"`
}

// change is one file as it shall be.
type change struct {
	path string
	data []byte
}

// undoable are the only paths that an undo file may name: it is read back by
// root, perhaps after a restore of a backup from elsewhere.
var undoable = [...]string{UserCAFile, CertificateFile, DropIn, ConfigFile}

// capture remembers the files that the changes touch.
func capture(changes []change) ([]saved, error) {
	var all []saved
	for _, c := range changes {
		s := saved{Path: c.path}
		info, err := os.Lstat(c.path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			all = append(all, s)
			continue
		case err != nil:
			return nil, err
		case !info.Mode().IsRegular() || info.Size() > maxFile:
			return nil, fmt.Errorf("%s is not a file of sane size; move it away", c.path)
		}
		if s.Data, err = os.ReadFile(c.path); err != nil {
			return nil, err
		}
		s.Exists, s.Mode = true, info.Mode().Perm()
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			s.UID, s.GID = int(st.Uid), int(st.Gid)
		}
		all = append(all, s)
	}
	return all, nil
}

// restore puts the files back. It goes on after an error, in the order in
// which sshd needs them: the configuration before what it names.
func restore(files []saved) error {
	var errs []error
	for i := len(files) - 1; i >= 0; i-- {
		s := files[i]
		var err error
		if s.Exists {
			_, err = atomicfile.Write(s.Path, s.Data, atomicfile.Options{Mode: s.Mode, Owner: &atomicfile.Owner{UID: s.UID, GID: s.GID}})
		} else {
			_, err = atomicfile.Remove(s.Path)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// write makes the changes. New files are readable by all, like the rest of
// what sshd reads; an old one keeps its mode.
func write(changes []change) error {
	for _, c := range changes {
		opt := atomicfile.Options{}
		if _, err := os.Lstat(c.path); errors.Is(err, fs.ErrNotExist) {
			opt = atomicfile.Options{Mode: 0o644, Owner: &atomicfile.Owner{}}
		}
		if _, err := atomicfile.Write(c.path, c.data, opt); err != nil {
			return err
		}
	}
	return nil
}

func saveUndo(path string, files []saved) error {
	raw, err := json.Marshal(files)
	if err != nil {
		return err
	}
	_, err = atomicfile.Write(path, raw, atomicfile.Options{Mode: 0o600})
	return err
}

// loadUndo reads the undo file; no file is nil.
func loadUndo(path string) ([]saved, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var files []saved
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&files); err != nil {
		return nil, fmt.Errorf("the undo file %s is damaged: %w", path, err)
	}
	for _, s := range files {
		known := false
		for _, p := range undoable {
			known = known || s.Path == p
		}
		if !known {
			return nil, fmt.Errorf("the undo file %s names a path that is not Cardea's to change", path)
		}
	}
	return files, nil
}
