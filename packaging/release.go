package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"text/template"

	"github.com/goccy/go-yaml"
)

// release is what goreleaser.yaml says of programs and packages.
type release struct {
	Builds []build `yaml:"builds"`
	NFPMs  []pack  `yaml:"nfpms"`
}

// build is one program.
type build struct {
	ID, Main, Binary string
	Env, Flags       []string
	LDFlags          []string `yaml:"ldflags"`
}

// pack is one package: what nfpm itself reads, and a few keys of goreleaser's.
type pack map[string]any

// readRelease reads goreleaser.yaml in root, with the values in place of which it
// has templates.
func readRelease(root, version, arch string) (release, error) {
	var r release
	raw, err := os.ReadFile(filepath.Join(root, "goreleaser.yaml"))
	if err != nil {
		return r, err
	}
	t, err := template.New("goreleaser.yaml").Option("missingkey=error").Parse(string(raw))
	if err != nil {
		return r, err
	}
	var text bytes.Buffer
	if err := t.Execute(&text, map[string]string{
		"Version": version, "Tag": "v" + version, "Os": "linux", "Arch": arch,
		// nfpm gives the file its conventional name by itself; times are those of a
		// fixed day, so that the same files make the same package.
		"ConventionalFileName": "", "CommitTimestamp": "1735689600", "CommitDate": "2025-01-01T00:00:00Z",
	}); err != nil {
		return r, err
	}
	// A key after a merge replaces the merged one, which goccy calls a duplicate.
	err = yaml.UnmarshalWithOptions(text.Bytes(), &r, yaml.AllowDuplicateMapKey())
	return r, err
}

// named returns these packages, or all.
func (r release) named(names []string) ([]pack, error) {
	if len(names) == 0 {
		return r.NFPMs, nil
	}
	var out []pack
	for _, name := range names {
		i := slices.IndexFunc(r.NFPMs, func(p pack) bool { return p.name() == name })
		if i < 0 {
			return nil, fmt.Errorf("goreleaser.yaml has no package %s", name)
		}
		out = append(out, r.NFPMs[i])
	}
	return out, nil
}

// build returns the program of an id.
func (r release) build(id string) (build, error) {
	for _, b := range r.Builds {
		if b.ID == id {
			return b, nil
		}
	}
	return build{}, fmt.Errorf("goreleaser.yaml builds no %s", id)
}

func (p pack) name() string      { return fmt.Sprint(p["package_name"]) }
func (p pack) bindir() string    { return fmt.Sprint(p["bindir"]) }
func (p pack) formats() []string { return texts(p["formats"]) }
func (p pack) ids() []string     { return texts(p["ids"]) }

func texts(v any) (out []string) {
	list, _ := v.([]any)
	for _, e := range list {
		out = append(out, fmt.Sprint(e))
	}
	return out
}

// dependsOn copies m with the one key renamed that is nfpm's by another name.
func dependsOn(m map[string]any) map[string]any {
	m = maps.Clone(m)
	if d, ok := m["dependencies"]; ok {
		delete(m, "dependencies")
		m["depends"] = d
	}
	return m
}

// nfpm is the package as nfpm reads it, with the programs added as goreleaser
// adds them.
func (p pack) nfpm(m *maker, programs map[string]string) ([]byte, error) {
	c := dependsOn(p)
	for _, own := range []string{"id", "ids", "package_name", "file_name_template", "formats", "bindir"} {
		delete(c, own)
	}
	overrides := map[string]any{}
	for format, v := range c["overrides"].(map[string]any) {
		overrides[format] = dependsOn(v.(map[string]any))
	}
	c["overrides"] = overrides
	c["name"], c["version"], c["arch"], c["platform"] = p.name(), m.version, m.arch, "linux"
	contents, _ := p["contents"].([]any)
	contents = slices.Clone(contents)
	for _, name := range slices.Sorted(maps.Keys(programs)) {
		contents = append(contents, map[string]any{
			"src": programs[name], "dst": filepath.Join(p.bindir(), name), "file_info": map[string]any{"mode": 0o755},
		})
	}
	c["contents"] = contents
	if m.quick {
		c["deb"], c["rpm"] = map[string]any{"compression": "none"}, map[string]any{"compression": "gzip:0"}
	}
	return yaml.Marshal(c)
}
