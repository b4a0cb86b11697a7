package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/internal/term"
	"github.com/cardea-ssh/cardea/recording"
)

func newSessions(a *app) *cobra.Command {
	var o recordingsOptions
	cmd := &cobra.Command{
		Use: "sessions", GroupID: groupAccess,
		Short: "List, play, export and verify recorded sessions",
		Long: "Recorded sessions: your own, and for administrators those of all.\n" +
			"At a terminal this alone opens a screen where you find and play them; all that it does the verbs below do, too.",
		Example: "  cardea sessions\n  cardea sessions --server web-1 -i auditor.key\n  cardea sessions ls --mine",
	}
	onScreen(a, cmd, func(cmd *cobra.Command, in, out *os.File) error { return a.recordingsScreen(cmd, o, in, out) })
	cmd.Flags().StringVar(&o.server, "server", "", "have the screen list those on this server, too")
	cmd.Flags().StringVarP(&o.key, "identity", "i", "", "file with a key that can read recordings, which the screen asks for otherwise")
	cmd.RegisterFlagCompletionFunc("server", a.completeServers)
	cmd.MarkFlagFilename("identity")
	cmd.AddCommand(newSessionsLs(a), newSessionsShow(a), newSessionsPlay(a), newSessionsExport(a), newSessionsVerify(a), newSessionsKeys(a), newSessionsDownload(a))
	return cmd
}

// recordingArg is what the verbs take, and recordingHelp says in their help what it is.
const (
	recordingArg  = "RECORDING"
	recordingHelp = "RECORDING is the id of a session, as `cardea sessions ls` shows it, or a folder, as `cardea sessions download` makes it,\nwith a slash behind it."
)

// openRecording finds a recording: a folder with its segments, one segment, or by the id
// of its session what the control plane knows of. An id is never a folder that happens to
// lie here: of that nobody says how it has to end.
func (a *app) openRecording(ctx context.Context, ref string) (fs.FS, error) {
	if ident.Check(ref, ident.GatewaySession) == nil {
		s, err := a.openStored(ctx, ref)
		if _, missing := os.Stat(ref); err != nil && missing == nil {
			return nil, fmt.Errorf("%w; to take the folder that is here write it with a slash: %s/", err, ref)
		}
		return s, err
	}
	info, err := os.Stat(ref)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no folder or file %q; give the folder that holds %s, or the id of a session that `cardea sessions ls` shows", ref, recording.SegmentName(1))
	case err != nil:
		return nil, err
	case info.IsDir():
		return os.DirFS(ref), nil
	}
	return oneFile{os.DirFS(filepath.Dir(ref)), filepath.Base(ref)}, nil
}

// oneFile is a folder of which nothing is seen but one file.
type oneFile struct {
	folder fs.FS
	name   string
}

func (f oneFile) Open(name string) (fs.File, error) {
	if name != f.name {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return f.folder.Open(name)
}

func (f oneFile) ReadDir(string) ([]fs.DirEntry, error) {
	info, err := fs.Stat(f.folder, f.name)
	if err != nil {
		return nil, err
	}
	return []fs.DirEntry{fs.FileInfoToDirEntry(info)}, nil
}

// errNoIdentity is for a recording that is there and nobody gave a key to read.
var errNoIdentity = errors.New("recordings are encrypted")

// lacksIdentity has errNoIdentity tell the line that was typed with what it lacks.
func lacksIdentity(cmd *cobra.Command, err error) error {
	if !errors.Is(err, errNoIdentity) {
		return err
	}
	return &usageError{err.Error(), "with a key of age or an ssh-ed25519 key that can read it type: " + completed(cmd, []string{"identity"})}
}

// readRecording opens a recording to be read with the identities in some files.
func (a *app) readRecording(ctx context.Context, ref string, identityFiles []string) (*recording.Reader, error) {
	folder, err := a.openRecording(ctx, ref)
	if err != nil {
		return nil, err
	}
	if len(identityFiles) == 0 {
		return nil, errNoIdentity
	}
	var identities []age.Identity
	for _, name := range identityFiles {
		found, err := readIdentities(ctx, name)
		if err != nil {
			return nil, err
		}
		identities = append(identities, found...)
	}
	r, err := recording.NewReader(folder, identities...)
	switch {
	case errors.Is(err, recording.ErrNoIdentity):
		return nil, fmt.Errorf("%w; give --identity FILE with another one", err)
	case errors.Is(err, recording.ErrFormat):
		return nil, fmt.Errorf("%w; give the folder that holds %s, or the id of a session that `cardea sessions ls` shows", err, recording.SegmentName(1))
	}
	return r, err
}

// ofChannel sees to it that there is a channel of that number, 0 being any.
func ofChannel(ctx context.Context, r *recording.Reader, channel uint32) error {
	if channel == 0 {
		return nil
	}
	found := errors.New("found")
	last := uint32(0)
	err := events(ctx, r, func(e recording.Event) error {
		if e.Channel == channel {
			return found
		}
		last = max(last, e.Channel)
		return nil
	})
	switch {
	case errors.Is(err, found):
		return r.Seek(0)
	case err != nil:
		return err
	}
	return &usageError{fmt.Sprintf("there is no channel %d in this recording, and the last is %d", channel, last), "to see what there is use: cardea sessions export --format json"}
}

// maxKeyFile bounds a file of keys, in bytes.
const maxKeyFile = 1 << 20

func readKeyFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxKeyFile {
		return nil, fmt.Errorf("%s is too large to be a file of keys; give another one", name)
	}
	return b, nil
}

// readIdentities reads a file as age-keygen or ssh-keygen makes it. Of what it holds
// nothing is ever repeated.
func readIdentities(ctx context.Context, name string) ([]age.Identity, error) {
	b, err := readKeyFile(name)
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(b, []byte("-----BEGIN")) {
		ids, err := age.ParseIdentities(bytes.NewReader(b))
		if err != nil {
			return nil, fmt.Errorf("%s holds no identity of age; give a file as age-keygen makes it, or an ssh-ed25519 key", name)
		}
		return ids, nil
	}
	id, err := agessh.ParseIdentity(b)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) && locked.PublicKey != nil {
		id, err = agessh.NewEncryptedSSHIdentity(locked.PublicKey, b, func() ([]byte, error) { return passphrase(ctx, name) })
	}
	if err != nil {
		return nil, fmt.Errorf("%s holds no key that can decrypt; give an ssh-ed25519 key or a file of age-keygen", name)
	}
	return []age.Identity{id}, nil
}

// passphrase asks at the terminal.
func passphrase(ctx context.Context, name string) ([]byte, error) {
	t, err := term.Open()
	if err != nil {
		return nil, fmt.Errorf("%s has a passphrase, and there is no terminal to ask for it; give a key without one", name)
	}
	defer t.Close()
	secret, err := t.Secret(ctx, "Passphrase for "+name+": ")
	return []byte(strings.TrimRight(secret, "\r\n")), err
}

// identityFlag adds --identity.
func identityFlag(cmd *cobra.Command, files *[]string) {
	cmd.Flags().StringArrayVarP(files, "identity", "i", nil, "`FILE` with a key that can read the recording: of age, or ssh-ed25519")
	cmd.MarkFlagFilename("identity")
}
