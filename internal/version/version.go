// Package version says which build is running. Releases and make set the
// version with the linker; any other build takes what the Go tool recorded
// about module and commit, so that "go install" builds know it as well.
package version

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// version is set by -ldflags "-X …/internal/version.version=v1.2.3" and by
// nothing else: the linker can only reach a package variable.
var version string

// Info is the identity of a build.
type Info struct {
	Version  string `json:"version"`            // "v1.2.3", or "devel"
	Commit   string `json:"commit,omitempty"`   // of git, whole
	Time     string `json:"time,omitempty"`     // of the commit, RFC 3339
	Modified bool   `json:"modified,omitempty"` // the tree held more than the commit
	Go       string `json:"go"`
	Platform string `json:"platform"` // "linux/amd64"
}

// Get is the identity of this program.
func Get() Info {
	build, _ := debug.ReadBuildInfo()
	return from(build, version)
}

func from(build *debug.BuildInfo, linked string) Info {
	info := Info{Version: linked, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if build != nil {
		if v := build.Main.Version; v != "(devel)" {
			info.Version = cmp.Or(info.Version, v)
		}
		for _, s := range build.Settings {
			switch s.Key {
			case "vcs.revision":
				info.Commit = s.Value
			case "vcs.time":
				info.Time = s.Value
			case "vcs.modified":
				info.Modified = s.Value == "true"
			}
		}
	}
	info.Version = cmp.Or(info.Version, "devel")
	return info
}

// String is the identity on one line, for people.
func (i Info) String() string {
	details := []string{i.Go, i.Platform}
	if i.Commit != "" {
		c := i.Commit[:min(len(i.Commit), 12)]
		if i.Modified {
			c += " with changes"
		}
		details = append([]string{c}, details...)
	}
	return fmt.Sprintf("%s (%s)", i.Version, strings.Join(details, ", "))
}

// UserAgent is how the program called name introduces itself over HTTP.
func UserAgent(name string) string {
	i := Get()
	return fmt.Sprintf("%s/%s (%s)", name, strings.TrimPrefix(i.Version, "v"), i.Platform)
}
