package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/atomicfile"
	"github.com/cardea-ssh/cardea/recording"
)

// stored is a recording that the control plane fetches from its bucket, as a folder: each
// segment comes when it is opened. It goes through memory alone, so that a look at a
// recording leaves nothing on the disk of whoever looks.
type stored struct {
	ctx    context.Context
	client *api.Client
	info   api.Recording
	// parts are the segments that there are; Size and SHA256 where the manifest says.
	parts []storedPart
	// manifest is what was stored of it; nil if there is none yet.
	manifest []byte
}

type storedPart struct {
	Number int    `json:"n"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	Kept   string `json:"kept"`
}

// keptThere is what a manifest says of a segment that is in the bucket.
const keptThere = "there"

// openStored asks what there is.
func (a *app) openStored(ctx context.Context, session string) (*stored, error) {
	client, err := a.client(ctx)
	if err != nil {
		return nil, err
	}
	return storedOf(ctx, client, session)
}

func storedOf(ctx context.Context, client *api.Client, session string) (*stored, error) {
	path, err := pathOf("recordings", session)
	if err != nil {
		return nil, err
	}
	s := &stored{ctx: ctx, client: client}
	if _, err := client.Get(ctx, path, nil, &s.info); err != nil {
		return nil, err
	}
	if s.info.Segments < 0 || s.info.Segments > recording.MaxSegments {
		return nil, api.Errorf(api.Foreign, "the control plane says that it has %d segments", s.info.Segments)
	}
	if s.info.State == api.RecordingStored || s.info.State == api.RecordingDamaged {
		s.manifest, err = s.fetch("manifest")
		if err != nil && api.KindOf(err) != api.NotFound {
			return nil, err
		}
	}
	s.parts = s.list()
	if len(s.parts) == 0 {
		return nil, fmt.Errorf("nothing of session %s is stored yet; to see how far it is type: cardea sessions show %s", session, session)
	}
	return s, nil
}

// list is what the manifest says, or else the segments in a row: numbers are missing only
// where some were set aside, and then there is a manifest. It decides about nothing but what
// is fetched; whether that is all, verify says.
func (s *stored) list() (parts []storedPart) {
	var signed struct {
		Manifest struct {
			Segments []storedPart `json:"segments"`
		} `json:"manifest"`
	}
	if json.Unmarshal(s.manifest, &signed) == nil {
		for _, p := range signed.Manifest.Segments {
			if p.Kept == keptThere && p.Number > 0 && p.Number <= recording.MaxSegments {
				parts = append(parts, p)
			}
		}
	}
	if len(parts) > 0 {
		return parts
	}
	for n := range s.info.Segments {
		parts = append(parts, storedPart{Number: n + 1})
	}
	return parts
}

// fetch reads one object whole.
func (s *stored) fetch(what ...string) ([]byte, error) {
	path, err := pathOf(append([]string{"recordings", s.info.Session}, what...)...)
	if err != nil {
		return nil, err
	}
	body, err := s.client.Open(s.ctx, path)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	content, err := io.ReadAll(io.LimitReader(body, recording.MaxSegmentBytes+1))
	if err == nil && len(content) > recording.MaxSegmentBytes {
		err = errors.New("it is larger than a segment can be")
	}
	if err != nil {
		return nil, fmt.Errorf("fetch a part of session %s: %w; try again", s.info.Session, err)
	}
	return content, nil
}

func (s *stored) segment(p storedPart) ([]byte, error) {
	content, err := s.fetch("segments", strconv.Itoa(p.Number))
	if err != nil || p.SHA256 == "" || hashOf(content) == p.SHA256 {
		return content, err
	}
	return nil, fmt.Errorf("%s of session %s is not what its manifest says; it was changed in the bucket", recording.SegmentName(p.Number), s.info.Session)
}

func hashOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// Open fetches a segment, as it is there: who verifies wants to see what was changed.
func (s *stored) Open(name string) (fs.File, error) {
	for _, p := range s.parts {
		if recording.SegmentName(p.Number) != name {
			continue
		}
		content, err := s.fetch("segments", strconv.Itoa(p.Number))
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		return fetched{bytes.NewReader(content), part{name, int64(len(content)), s.info.StartedAt}}, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// ReadDir lists the segments.
func (s *stored) ReadDir(string) (entries []fs.DirEntry, err error) {
	for _, p := range s.parts {
		entries = append(entries, fs.FileInfoToDirEntry(part{recording.SegmentName(p.Number), p.Size, s.info.StartedAt}))
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return bytes.Compare([]byte(a.Name()), []byte(b.Name())) })
	return entries, nil
}

// fetched is a segment in memory.
type fetched struct {
	*bytes.Reader
	info part
}

func (f fetched) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f fetched) Close() error               { return nil }

// part is the file of a segment.
type part struct {
	name string
	size int64
	at   time.Time
}

func (p part) Name() string       { return p.name }
func (p part) Size() int64        { return p.size }
func (p part) Mode() fs.FileMode  { return 0o400 }
func (p part) ModTime() time.Time { return p.at }
func (p part) IsDir() bool        { return false }
func (p part) Sys() any           { return nil }

func newSessionsDownload(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "download SESSION [FOLDER]", Short: "Fetch what is stored of a recorded session",
		Long: "Fetch what is stored of a recorded session into a folder (default one named as the session, here). It stays sealed;\n" +
			"play, export and verify take the folder. Done again, it fetches what is missing.",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			folder := args[0] + string(filepath.Separator) // play and the others take it for a folder by that
			if len(args) == 2 {
				folder = args[1]
			}
			return a.sessionsDownload(cmd.Context(), args[0], folder)
		},
	}
}

// downloaded is what is printed of it.
type downloaded struct {
	Session  string `json:"session"`
	Folder   string `json:"folder"`
	Segments int    `json:"segments"`
	Bytes    int64  `json:"bytes"`
}

func (a *app) sessionsDownload(ctx context.Context, session, folder string) error {
	s, err := a.openStored(ctx, session)
	if err != nil {
		return err
	}
	out, err := s.download(folder)
	if err != nil {
		return err
	}
	return showOne(a, out, []column[downloaded]{
		{"session", func(d downloaded) string { return d.Session }},
		{"folder", func(d downloaded) string { return d.Folder }},
		{"segments", func(d downloaded) string { return strconv.Itoa(d.Segments) }},
		{"bytes", func(d downloaded) string { return strconv.FormatInt(d.Bytes, 10) }},
	})
}

// download writes what is not there yet.
func (s *stored) download(folder string) (downloaded, error) {
	out := downloaded{Session: s.info.Session, Folder: folder, Segments: len(s.parts)}
	for _, p := range s.parts {
		path := filepath.Join(folder, recording.SegmentName(p.Number))
		if p.SHA256 != "" {
			if have, err := os.ReadFile(path); err == nil && hashOf(have) == p.SHA256 {
				out.Bytes += int64(len(have))
				continue
			}
		}
		content, err := s.segment(p)
		if err != nil {
			return out, err
		}
		if err := os.MkdirAll(folder, 0o700); err != nil { // not before there is something for it
			return out, err
		}
		if _, err := atomicfile.Write(path, content, atomicfile.Options{Mode: 0o600}); err != nil {
			return out, err
		}
		out.Bytes += int64(len(content))
	}
	if s.manifest != nil {
		if _, err := atomicfile.Write(filepath.Join(folder, "manifest.json"), s.manifest, atomicfile.Options{Mode: 0o600}); err != nil {
			return out, err
		}
	}
	return out, nil
}
