package program

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTrusted(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root, whose files are trusted")
	}
	dir, err := os.MkdirTemp("/root", "cardea-program-") // no folder above may be everybody's
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"bin", "open"} {
		if err := os.Mkdir(at(name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, mode := range map[string]os.FileMode{
		"bin/good": 0o755, "bin/group": 0o775, "bin/everybody": 0o757, "bin/data": 0o644, "bin/others": 0o755, "open/good": 0o755,
	} {
		if err := os.WriteFile(at(name), nil, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(at(name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(at("bin/others"), 65534, 0); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{
		"link": "bin/good", "absolute": at("bin/good"), "open/back": "../bin/good", "through": "open/back",
		"sbin": "bin", "loop": "loop", "up": "bin/../bin/good",
	} {
		if err := os.Symlink(target, at(link)); err != nil {
			t.Fatal(err)
		}
	}
	os.Chmod(at("open"), 0o777)
	for name, tc := range map[string]struct {
		path string
		ok   bool
	}{
		"a file of root's":                             {at("bin/good"), true},
		"a link to it":                                 {at("link"), true},
		"an absolute link to it":                       {at("absolute"), true},
		"a link with .. in it":                         {at("up"), true},
		"a linked folder":                              {at("sbin/good"), true},
		"a file that the group can write":              {at("bin/group"), false},
		"a file that everybody can write":              {at("bin/everybody"), false},
		"somebody else's file":                         {at("bin/others"), false},
		"a file that is no program":                    {at("bin/data"), false},
		"a file in everybody's folder":                 {at("open/good"), false},
		"a link in everybody's folder":                 {at("open/back"), false},
		"a link that leads through everybody's folder": {at("through"), false},
		"a link to itself":                             {at("loop"), false},
		"a folder":                                     {at("bin"), false},
		"nothing":                                      {at("bin/none"), false},
		"a relative path":                              {"bin/good", false},
		"a device":                                     {"/dev/null", false},
	} {
		if err := Trusted(tc.path); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTrustedConfig(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root, whose files are trusted")
	}
	dir, err := os.MkdirTemp("/root", "cardea-program-") // no folder above may be everybody's
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	at := func(name string) string { return filepath.Join(dir, name) }
	for name, mode := range map[string]os.FileMode{"etc": 0o755, "tmp": 0o777 | os.ModeSticky, "open": 0o777, "bobs": 0o755} {
		if err := os.Mkdir(at(name), 0o700); err != nil {
			t.Fatal(err)
		}
		for file, fileMode := range map[string]os.FileMode{"good": 0o644, "group": 0o664, "everybody": 0o646, "others": 0o600} {
			if err := os.WriteFile(filepath.Join(at(name), file), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			os.Chmod(filepath.Join(at(name), file), fileMode)
		}
		os.Symlink("good", filepath.Join(at(name), "link"))
		os.Symlink("good", filepath.Join(at(name), "bobs-link"))
		os.Lchown(filepath.Join(at(name), "bobs-link"), 65534, 0)
		os.Chown(filepath.Join(at(name), "others"), 65534, 0)
		os.Chmod(at(name), mode)
	}
	os.Chown(at("bobs"), 65534, 0)
	for name, ok := range map[string]bool{
		"etc/good": true, "etc/link": true, "etc/group": false, "etc/everybody": false, "etc/others": false,
		"tmp/good": true, "tmp/link": true, "tmp/group": false, "tmp/others": false, "tmp/bobs-link": false,
		"open/good": false, "open/link": false, "bobs/good": false, "etc": false, "etc/none": false,
	} {
		if err := TrustedConfig(at(name)); (err == nil) != ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
