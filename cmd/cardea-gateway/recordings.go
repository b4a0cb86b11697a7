package main

import (
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cardea-ssh/cardea/gateway"
	"github.com/cardea-ssh/cardea/internal/bucket"
)

// noRecordings is the word for a gateway that records nothing.
const noRecordings = "off"

// recordingOptions say where recordings go.
type recordingOptions struct {
	Recordings   string `name:"recordings" help:"where recordings are stored: file:///folder, s3://bucket, gs://bucket, azblob://container, or off for a gateway that records nothing (default recordings in the state folder)"`
	Spool        string `name:"spool" help:"folder of recordings that are not stored yet (default spool in the state folder)"`
	SpoolReserve size   `name:"spool-reserve" help:"room that must be free for a recorded session to begin, such as 2GiB; 0 for the larger of 2GiB and a tenth of the disk"`
	UploadRate   size   `name:"upload-rate" help:"most that recordings are uploaded with a second, such as 10MiB; 0 for no limit"`
}

// resolve gives the gateway's own form, in a state folder.
func (o recordingOptions) resolve(stateDir string) (gateway.RecordingOptions, error) {
	if o.Spool != "" && !filepath.IsAbs(o.Spool) {
		return gateway.RecordingOptions{}, fmt.Errorf("spool: %q depends on where the gateway was started; give the whole path, such as /var/lib/cardea-gateway/spool", o.Spool)
	}
	out := gateway.RecordingOptions{Bucket: o.Recordings, Spool: o.Spool, Reserve: int64(o.SpoolReserve), Rate: int64(o.UploadRate)}
	switch o.Recordings {
	case noRecordings:
		return gateway.RecordingOptions{}, nil
	case "":
		dir, err := filepath.Abs(filepath.Join(stateDir, "recordings"))
		if err != nil {
			return out, fmt.Errorf("recordings: %w", err)
		}
		out.Bucket = bucket.Folder(dir)
	}
	if err := bucket.Check(out.Bucket); err != nil {
		return out, fmt.Errorf("recordings: %w", err)
	}
	return out, nil
}

// size is a number of bytes: 512, 64KiB, 10MiB, 2GiB or 1TiB.
type size int64

// units of a size, by which a text may end.
var units = []struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"", 1}}

// UnmarshalText reads what a person wrote.
func (s *size) UnmarshalText(text []byte) error {
	for _, u := range units {
		number, ok := strings.CutSuffix(string(text), u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
		if err != nil || n < 0 || n > math.MaxInt64/u.bytes {
			break
		}
		*s = size(n * u.bytes)
		return nil
	}
	return fmt.Errorf("%q is no size such as 512MiB or 2GiB", text)
}

// MarshalText writes it in the largest unit that leaves no rest.
func (s size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (s size) String() string {
	for _, u := range units {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return "0"
}
