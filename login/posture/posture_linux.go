package posture

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// maxFile bounds what is read of a file, in bytes: the mounts of a machine with a
// thousand containers have some 300 KiB.
const maxFile = 1 << 20

// maxStack is how deep block devices lie upon each other before we stop looking: three or
// four is usual (file system, logical volume, encryption, RAID).
const maxStack = 16

func read(ctx context.Context) Report {
	m := machine{root: "/", home: os.Getenv("HOME"), config: os.Getenv("XDG_CONFIG_HOME")}
	r := Report{OS: "linux", DiskEncryption: m.disks(), ScreenLock: m.locks(ctx)}
	r.System, r.Version = m.release()
	return r
}

// machine is this one, or one that a test has made.
type machine struct {
	root         string
	home, config string
}

func (m machine) text(path string) string {
	f, err := os.Open(filepath.Join(m.root, path))
	if err != nil {
		return ""
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return ""
	}
	return string(b)
}

// release is from os-release(5).
func (m machine) release() (system, version string) {
	text := m.text("etc/os-release")
	if text == "" {
		text = m.text("usr/lib/os-release")
	}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		value = strings.Trim(value, `"'`)
		switch name {
		case "ID":
			system = value
		case "VERSION_ID":
			version = value
		}
	}
	return system, version
}

// disks looks at the block devices below the system and below the home folder.
func (m machine) disks() string {
	mounts := m.text("proc/self/mountinfo")
	answers := []string{m.encrypted(mounts, "/")}
	if m.home != "" {
		answers = append(answers, m.encrypted(mounts, m.home))
	}
	return all(answers...)
}

// encrypted finds the mount that holds path (proc(5): id, parent, major:minor, root, mount
// point, …, -, type, source, options) and asks about its device.
func (m machine) encrypted(mounts, path string) string {
	best, device := "", ""
	for line := range strings.Lines(mounts) {
		fields := strings.Fields(line)
		if len(fields) < 10 {
			continue
		}
		at := unescape(fields[4])
		if len(at) < len(best) || !(path == at || at == "/" || strings.HasPrefix(path, at+"/")) {
			continue // a later mount at the same point lies over an earlier one
		}
		best, device = at, fields[2]
		if strings.HasPrefix(device, "0:") { // btrfs has numbers of its own
			device = m.behind(fields)
		}
	}
	if device == "" {
		return Unknown
	}
	return m.below(filepath.Join("sys/dev/block", device), maxStack)
}

// behind is the block device that a mount names as its source; empty if it names none, as
// overlays, network file systems and ZFS do.
func (m machine) behind(fields []string) string {
	for i, f := range fields {
		if f != "-" || i+2 >= len(fields) {
			continue
		}
		name, ok := strings.CutPrefix(unescape(fields[i+2]), "/dev/")
		if !ok {
			return ""
		}
		if target, err := os.Readlink(filepath.Join(m.root, "dev", name)); err == nil {
			name = filepath.Base(target) // of a name in /dev/mapper
		}
		return strings.TrimSpace(m.text(filepath.Join("sys/class/block", filepath.Base(name), "dev")))
	}
	return ""
}

// unescape undoes what the kernel does with spaces and the like in mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// below asks whether everything of a block device comes through dm-crypt.
func (m machine) below(device string, depth int) string {
	if _, err := os.Stat(filepath.Join(m.root, device)); err != nil || depth == 0 {
		return Unknown
	}
	if strings.HasPrefix(m.text(filepath.Join(device, "dm/uuid")), "CRYPT-") {
		return Yes
	}
	slaves, _ := filepath.Glob(filepath.Join(m.root, device, "slaves", "*"))
	if len(slaves) == 0 {
		return No
	}
	var answers []string
	for _, s := range slaves {
		answers = append(answers, m.below(filepath.Join("sys/class/block", filepath.Base(s)), depth-1))
	}
	return all(answers...)
}

// locks asks the desktop, if there is one that we know.
func (m machine) locks(ctx context.Context) string {
	switch desktop := strings.ToLower(os.Getenv("XDG_CURRENT_DESKTOP")); {
	case strings.Contains(desktop, "gnome"), strings.Contains(desktop, "unity"):
		return gnomeLocks(say(ctx, "/usr/bin/gsettings", "get", "org.gnome.desktop.screensaver", "lock-enabled"),
			say(ctx, "/usr/bin/gsettings", "get", "org.gnome.desktop.session", "idle-delay"))
	case strings.Contains(desktop, "kde"):
		return m.kdeLocks()
	}
	return Unknown
}

// gnomeLocks reads "true" or "false", and "uint32 SECONDS", of which 0 is never.
func gnomeLocks(enabled, idle string) string {
	seconds, err := strconv.Atoi(strings.TrimPrefix(idle, "uint32 "))
	switch {
	case enabled == "false", err == nil && seconds == 0:
		return No
	case enabled == "true" && err == nil && seconds > 0:
		return Yes
	}
	return Unknown
}

// kdeLocks reads kscreenlockerrc, in which only what is not the default stands; the
// default is to lock.
func (m machine) kdeLocks() string {
	dir := m.config
	if dir == "" {
		dir = filepath.Join(m.home, ".config")
	}
	section, out := "", Yes
	for line := range strings.Lines(m.text(filepath.Join(dir, "kscreenlockerrc"))) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = line
		}
		name, value, _ := strings.Cut(line, "=")
		if section == "[Daemon]" && (name == "Autolock" && value == "false" || name == "Timeout" && value == "0") {
			out = No
		}
	}
	return out
}
