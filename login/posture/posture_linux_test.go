package posture

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// made is a machine of these files; a value that begins with -> is a symbolic link.
func made(t *testing.T, files map[string]string) machine {
	t.Helper()
	m := machine{root: t.TempDir(), home: "/home/alice"}
	for path, text := range files {
		at := filepath.Join(m.root, path)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(text, "->"); ok {
			err = os.Symlink(target, at)
		} else {
			err = os.WriteFile(at, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return m
}

const (
	rootOn = "25 1 %s / / rw,relatime shared:1 - ext4 /dev/x rw\n"
	homeOn = "26 25 %s / /home rw shared:2 - ext4 /dev/y rw\n"
)

func mounts(root, home string) string {
	out := strings.ReplaceAll(rootOn, "%s", root)
	if home != "" {
		out += strings.ReplaceAll(homeOn, "%s", home)
	}
	return out
}

func TestWhetherTheDiskIsEncrypted(t *testing.T) {
	luks := map[string]string{"sys/dev/block/253:0/dm/uuid": "CRYPT-LUKS2-abc", "sys/class/block/dm-0/dm/uuid": "CRYPT-LUKS2-abc", "sys/class/block/dm-0/dev": "253:0\n"}
	plainDisk := map[string]string{"sys/dev/block/8:1/size": "1", "sys/class/block/sda1/size": "1", "sys/class/block/sda1/dev": "8:1\n"}
	lvm := map[string]string{"sys/dev/block/253:1/dm/uuid": "LVM-abc", "sys/dev/block/253:1/slaves/dm-0": "->../../../../class/block/dm-0"}
	both := map[string]string{"sys/dev/block/253:2/dm/uuid": "LVM-abc", "sys/dev/block/253:2/slaves/dm-0": "->../x", "sys/dev/block/253:2/slaves/sda1": "->../y"}
	join := func(maps ...map[string]string) map[string]string {
		out := map[string]string{}
		for _, m := range maps {
			for k, v := range m {
				out[k] = v
			}
		}
		return out
	}
	mount := func(text string) map[string]string { return map[string]string{"proc/self/mountinfo": text} }
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"all of it on LUKS", join(luks, mount(mounts("253:0", ""))), Yes},
		{"on a logical volume on LUKS", join(luks, lvm, mount(mounts("253:1", ""))), Yes},
		{"on a bare partition", join(plainDisk, mount(mounts("8:1", ""))), No},
		{"home alone", join(luks, plainDisk, mount(mounts("8:1", "253:0"))), No},
		{"the system alone", join(luks, plainDisk, mount(mounts("253:0", "8:1"))), No},
		{"half of a volume", join(luks, plainDisk, both, mount(mounts("253:2", ""))), No},
		{"btrfs on LUKS", join(luks, map[string]string{"dev/mapper/root": "->../dm-0"}, mount("25 1 0:30 /@ / rw - btrfs /dev/mapper/root rw\n")), Yes},
		{"btrfs on a partition", join(plainDisk, mount("25 1 0:30 /@ / rw - btrfs /dev/sda1 rw\n")), No},
		{"an overlay of a container", join(luks, mount("25 1 0:50 / / rw - overlay overlay rw,lowerdir=/x\n")), Unknown},
		{"home on a server", join(luks, mount(mounts("253:0", "")+"27 25 0:60 / /home rw - nfs4 server:/home rw\n")), Unknown},
		{"a device that is not in sysfs", mount(mounts("9:9", "")), Unknown},
		{"no mounts at all", nil, Unknown},
		{"another folder that begins alike", join(luks, plainDisk, mount(mounts("253:0", "")+"28 25 8:1 / /home/ali rw - ext4 /dev/sda1 rw\n")), Yes},
		{"a mount over another", join(luks, plainDisk, mount(mounts("8:1", "")+mounts("253:0", ""))), Yes},
	} {
		if got := made(t, c.files).disks(); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestDevicesThatLieUponThemselvesEnd(t *testing.T) {
	m := made(t, map[string]string{"sys/class/block/dm-0/slaves/dm-0": "->x", "sys/dev/block/253:0/slaves/dm-0": "->x", "proc/self/mountinfo": mounts("253:0", "")})
	if got := m.disks(); got != Unknown {
		t.Errorf("got %s", got)
	}
}

func TestWhetherTheScreenLocks(t *testing.T) {
	for _, c := range []struct{ enabled, idle, want string }{
		{"true", "uint32 300", Yes}, {"false", "uint32 300", No}, {"true", "uint32 0", No}, {"", "", Unknown}, {"true", "", Unknown}, {"", "uint32 300", Unknown},
	} {
		if got := gnomeLocks(c.enabled, c.idle); got != c.want {
			t.Errorf("GNOME with %q and %q: %s, want %s", c.enabled, c.idle, got, c.want)
		}
	}
	const rc = "home/alice/.config/kscreenlockerrc"
	for text, want := range map[string]string{"": Yes, "[Daemon]\nAutolock=false\n": No, "[Daemon]\nTimeout=0\n": No, "[Other]\nAutolock=false\n": Yes, "[Daemon]\nTimeout=10\n": Yes} {
		if got := made(t, map[string]string{rc: text}).kdeLocks(); got != want {
			t.Errorf("KDE with %q: %s, want %s", text, got, want)
		}
	}
}

func TestWhatTheSystemIs(t *testing.T) {
	m := made(t, map[string]string{"etc/os-release": "PRETTY_NAME=\"Debian\"\nID=debian\nVERSION_ID=\"12\"\n"})
	if system, version := m.release(); system != "debian" || version != "12" {
		t.Errorf("%s %s", system, version)
	}
	if r := Read(t.Context()); r.OS != "linux" || r.DiskEncryption == "" || r.ScreenLock == "" {
		t.Errorf("this machine says %+v", r)
	}
	if got := plain("1\x1b[2J2 3\u202e" + strings.Repeat("x", 100)); len(got) != maxText || strings.ContainsAny(got, "\x1b \u202e") {
		t.Errorf("%q", got)
	}
	if got := say(t.Context(), "/nonexistent/program"); got != "" {
		t.Errorf("%q", got)
	}
}
