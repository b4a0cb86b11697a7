package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/gateway"
)

func TestSizes(t *testing.T) {
	for _, tc := range []struct {
		text string
		want size
		back string
	}{
		{"0", 0, "0"}, {"512", 512, "512"}, {"64KiB", 64 << 10, "64KiB"}, {"10 MiB", 10 << 20, "10MiB"},
		{"2048MiB", 2 << 30, "2GiB"}, {"8388607TiB", 8388607 << 40, "8388607TiB"},
	} {
		var s size
		if err := s.UnmarshalText([]byte(tc.text)); err != nil || s != tc.want || s.String() != tc.back {
			t.Errorf("%q is %d (%s), %v", tc.text, s, s, err)
		}
	}
	for _, text := range []string{"", "-1", "2GB", "GiB", "1.5GiB", "8388608TiB", "x"} {
		var s size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken for %d", text, s)
		}
	}
}

func TestWhereRecordingsGo(t *testing.T) {
	for _, tc := range []struct {
		name string
		opt  recordingOptions
		want gateway.RecordingOptions
		says string
	}{
		{"nothing is said", recordingOptions{}, gateway.RecordingOptions{Bucket: "file:///var/lib/x/recordings"}, ""},
		{"off", recordingOptions{Recordings: "off", Spool: "/x"}, gateway.RecordingOptions{}, ""},
		{"a bucket and a disk", recordingOptions{Recordings: "s3://b?region=r", Spool: "/s", SpoolReserve: 5, UploadRate: 6}, gateway.RecordingOptions{Bucket: "s3://b?region=r", Spool: "/s", Reserve: 5, Rate: 6}, ""},
		{"a spool that depends on where it was started", recordingOptions{Spool: "spool"}, gateway.RecordingOptions{}, "give the whole path"},
		{"a path", recordingOptions{Recordings: "/x"}, gateway.RecordingOptions{}, "recordings: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := tc.opt.resolve("/var/lib/x")
			if tc.says == "" && (err != nil || got != tc.want) || tc.says != "" && (err == nil || !strings.Contains(err.Error(), tc.says)) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

func TestWhatIsWrongWithAnImportIsSaidBeforeAnythingIsDone(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"no folder", []string{"import-spool"}, 2, "import-spool --help"},
		{"a gateway that stores nothing", []string{"import-spool", "--recordings=off", "/x"}, 2, "--recordings"},
		{"a gateway that is not enrolled", []string{"import-spool", "--state-dir=" + t.TempDir() + "/x", "/x"}, 1, "not enrolled"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out, err bytes.Buffer
			if code := run(t.Context(), tc.args, noEnv, &out, &err); code != tc.code || !strings.Contains(err.String(), tc.says) {
				t.Errorf("code %d, %s", code, err.String())
			}
		})
	}
}
