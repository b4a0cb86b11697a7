package cardea_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// house is what the walk found. It reads the files itself: the Go tool would
// leave out what is built for other systems, and a test that asks it keeps a
// cached pass, because the test cache only knows files that the test opened.
type house struct {
	module   string
	packages map[string]*room // by folder, slashes, relative to the root
	findings []string         // what may stand in no file
	fset     *token.FileSet
}

// room is one package, all its files for all systems together, tests left out.
type room struct {
	name    string            // "" if there are only tests
	doc     string            // its package comment
	imports map[string]string // folder of a package of this module -> a file that imports it
}

func (r *room) documented() bool {
	if r.name == "main" {
		return len(r.doc) > 20
	}
	return strings.HasPrefix(r.doc, "Package "+r.name+" ")
}

// largestText is how large a file is that people wrote; larger ones were built, and none is
// searched for secrets.
const largestText = 1 << 20

var moduleLine = regexp.MustCompile(`(?m)^module (\S+)$`)

func load(root string) (*house, error) {
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return nil, err
	}
	m := moduleLine.FindSubmatch(mod)
	if m == nil {
		return nil, fmt.Errorf("go.mod names no module")
	}
	h := &house{module: string(m[1]), packages: map[string]*room{}, fset: token.NewFileSet()}
	err = fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != "." && skipped(root, name) {
				return fs.SkipDir
			}
			return nil
		}
		return h.file(root, name, d)
	})
	return h, err
}

// skipped reports whether the folder is none of ours: hidden, built, or a
// module of its own.
func skipped(root, name string) bool {
	base := path.Base(name)
	if slices.Contains([]string{".git", ".state", "bin", "dist", "node_modules", "vendor"}, base) {
		return true
	}
	_, err := os.Stat(filepath.Join(root, name, "go.mod"))
	return err == nil
}

func (h *house) file(root, name string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	if info.Size() > largestText {
		if ext := path.Ext(name); ext != ".test" && ext != ".out" { // which .gitignore has
			h.findings = append(h.findings, name+" is larger than any text: what was built belongs into no commit; remove it")
		}
		return nil
	}
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		return err
	}
	if at := secrets.FindIndex(text); at != nil {
		h.findings = append(h.findings, fmt.Sprintf("%s:%d: a private key stands in the tree", name, 1+strings.Count(string(text[:at[0]]), "\n")))
	}
	if path.Ext(name) != ".go" || slices.Contains(strings.Split(name, "/"), "testdata") {
		return nil
	}
	return h.goFile(name, text)
}

func (h *house) goFile(name string, text []byte) error {
	f, err := parser.ParseFile(h.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	h.tagged(f, name)
	dir := path.Dir(name)
	r := h.packages[dir]
	if r == nil {
		r = &room{imports: map[string]string{}}
		h.packages[dir] = r
	}
	if strings.HasSuffix(name, "_test.go") {
		return nil
	}
	r.name = f.Name.Name
	if f.Doc != nil && !strings.HasPrefix(r.doc, "Package ") {
		r.doc = f.Doc.Text()
	}
	for _, spec := range f.Imports {
		target, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		if rel, ours := strings.CutPrefix(target, h.module+"/"); ours {
			r.imports[rel] = name
		}
	}
	if !isTest(dir) {
		h.code(f, name)
	}
	return nil
}

// tagged looks for imports that need a build constraint, in tests too.
func (h *house) tagged(f *ast.File, name string) {
	constraint := ""
	for _, group := range f.Comments {
		for _, line := range group.List {
			if of, ok := strings.CutPrefix(line.Text, "//go:build "); ok && line.Pos() < f.Package {
				constraint = of
			}
		}
	}
	for _, spec := range f.Imports {
		for module, want := range behind {
			if strings.HasPrefix(strings.Trim(spec.Path.Value, `"`)+"/", module+"/") && constraint != want {
				h.findings = append(h.findings, fmt.Sprintf("%s imports %s: only a file with //go:build %s may", name, module, want))
			}
		}
	}
}

// code looks for what no program may contain.
func (h *house) code(f *ast.File, file string) {
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Ident:
			if why, bad := unsafeNames[n.Name]; bad && unsafeFiles[file] != n.Name {
				h.findings = append(h.findings, fmt.Sprintf("%s: %s: %s", h.fset.Position(n.Pos()), n.Name, why))
			}
		case *ast.FuncDecl:
			if n.Name.Name == "init" && n.Recv == nil {
				h.findings = append(h.findings, fmt.Sprintf("%s: init runs before anybody asked for it: call a function", h.fset.Position(n.Pos())))
			}
		}
		return true
	})
}

// build writes a small tree for the tests of the checker itself.
func build(t *testing.T, files map[string]string) *house {
	t.Helper()
	root := t.TempDir()
	files["go.mod"] = "module example.com/m\n"
	for name, text := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	h, err := load(root)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// source is a documented package that imports others of the module.
func source(name string, imports ...string) string {
	s := "// Package " + name + " is made up, and long enough a comment.\npackage " + name + "\n"
	for _, i := range imports {
		s += fmt.Sprintf("import _ %q\n", "example.com/m/"+i)
	}
	return s
}

func TestTheCheckerFindsWhatItShould(t *testing.T) {
	for _, tc := range []struct {
		name  string
		files map[string]string
		want  string // a part of the only complaint; "" for none
	}{
		{"a package may import a lower floor",
			map[string]string{"api/a.go": source("api", "internal/ident"), "internal/ident/i.go": source("ident")}, ""},
		{"a package may import its own child on the same floor",
			map[string]string{"control/a.go": source("control", "control/issue"), "control/issue/i.go": source("issue")}, ""},
		{"a package may not import its own floor",
			map[string]string{"api/a.go": source("api", "policy"), "policy/p.go": source("policy")}, "api (floor 1) may not import policy (floor 1)"},
		{"a package may not import a higher floor",
			map[string]string{"internal/ident/i.go": source("ident", "api"), "api/a.go": source("api")}, "internal/ident (floor 0) may not import api (floor 1)"},
		{"a child may not import its parent on the same floor",
			map[string]string{"control/a.go": source("control"), "control/issue/i.go": source("issue", "control")}, "control/issue (floor 3) may not import control"},
		{"a file for another system counts",
			map[string]string{"api/a.go": source("api"), "api/a_windows.go": "package api\nimport _ \"example.com/m/policy\"\n", "policy/p.go": source("policy")}, "api/a_windows.go"},
		{"a test may import anything",
			map[string]string{"api/a.go": source("api"), "api/a_test.go": source("api", "control")}, ""},
		{"a package without a floor is found",
			map[string]string{"attic/a.go": source("attic")}, "attic has no floor"},
		{"a folder of tests alone needs no floor",
			map[string]string{"e2e/e_test.go": "package e2e"}, ""},
		{"a package without a comment is found",
			map[string]string{"api/a.go": "package api\n"}, "api has no package comment"},
		{"one file's comment is enough",
			map[string]string{"api/a.go": "package api\n", "api/b.go": source("api"), "api/c.go": "package api\n"}, ""},
		{"a main needs a comment too",
			map[string]string{"cmd/cardea/main.go": "package main\n"}, "cmd/cardea has no package comment"},
		{"a binary may not link what is banned for it, however far down",
			map[string]string{
				"cmd/cardea/main.go":   strings.Replace(source("main", "cmd/cardea/cli"), "Package main", "Command x", 1),
				"cmd/cardea/cli/c.go":  source("cli", "proxycmd"),
				"proxycmd/p.go":        source("proxycmd", "store/sqlstore"),
				"store/sqlstore/s.go":  source("sqlstore"),
				"cmd/cardea/cli/ct.go": "package cli\n",
			}, "cmd/cardea links store/sqlstore: cmd/cardea -> cmd/cardea/cli -> proxycmd -> store/sqlstore"},
		{"a package for tests is imported by tests only",
			map[string]string{"agent/a.go": source("agent", "internal/sshtest"), "internal/sshtest/s.go": source("sshtest")}, "internal/sshtest may be imported by tests only"},
		{"a package for tests may use another",
			map[string]string{"api/apitest/a.go": source("apitest", "internal/sshtest"), "internal/sshtest/s.go": source("sshtest")}, ""},
		{"switching off the host key check is found",
			map[string]string{"agent/a.go": source("agent") + "var f = ssh.InsecureIgnoreHostKey()\n"}, "InsecureIgnoreHostKey"},
		{"switching off TLS verification is found",
			map[string]string{"agent/a.go": source("agent") + "var f = tls.Config{InsecureSkipVerify: true}\n"}, "InsecureSkipVerify"},
		{"a program that was built and is committed by mistake is found",
			map[string]string{"api/a.go": source("api"), "cardea.exe": "MZ" + strings.Repeat("\x00", largestText)}, "cardea.exe is larger than any text"},
		{"what go test leaves is in no commit",
			map[string]string{"api/a.go": source("api"), "api.test": strings.Repeat("\x00", largestText+1)}, ""},
		{"where there is a reason for it one file may, and no other of its package",
			map[string]string{"hello/tls.go": source("hello") + "var f = tls.Config{InsecureSkipVerify: true}\n", "hello/other.go": source("hello") + "var f = tls.Config{InsecureSkipVerify: true}\n"}, "hello/other.go:"},
		{"the reason is good for one name alone",
			map[string]string{"hello/tls.go": source("hello") + "var f = ssh.InsecureIgnoreHostKey()\n"}, "InsecureIgnoreHostKey"},
		{"tests may switch checks off",
			map[string]string{"agent/a_test.go": "package agent\nvar f = ssh.InsecureIgnoreHostKey()\n"}, ""},
		{"a comment about it is no use of it",
			map[string]string{"agent/a.go": source("agent") + "// never InsecureIgnoreHostKey\n"}, ""},
		{"a module that needs tags is found without them",
			map[string]string{"agent/a_darwin.go": source("agent") + "import _ \"github.com/ebitengine/purego/objc\"\n"}, "agent/a_darwin.go imports github.com/ebitengine/purego"},
		{"it is found behind other tags, in a test too",
			map[string]string{"agent/a_test.go": "//go:build darwin || enclave\n\npackage agent\nimport _ \"github.com/ebitengine/purego\"\n"}, "only a file with //go:build darwin && enclave may"},
		{"behind its tags it may be imported",
			map[string]string{"agent/a.go": source("agent"), "agent/b.go": "//go:build darwin && enclave\n\npackage agent\nimport _ \"github.com/ebitengine/purego\"\n"}, ""},
		{"another module of a like name needs none",
			map[string]string{"agent/a.go": source("agent") + "import _ \"github.com/ebitengine/puregold\"\n"}, ""},
		{"init is found", map[string]string{"agent/a.go": source("agent") + "func init() {}\n"}, "init runs before"},
		{"a method called init is not", map[string]string{"agent/a.go": source("agent") + "type t int\nfunc (t) init() {}\n"}, ""},
		{"a private key is found in any file",
			map[string]string{"docs/x.md": "\n-----BEGIN OPENSSH PRIVATE " + "KEY-----\n"}, "docs/x.md:2: a private key"},
		{"a private key is found in test data",
			map[string]string{"ca/testdata/k": "-----BEGIN PRIVATE " + "KEY-----\n"}, "ca/testdata/k:1: a private key"},
		{"test data is not compiled", map[string]string{"ca/testdata/x.go": "not go"}, ""},
		{"another module inside is none of ours", map[string]string{"attic/go.mod": "module x\n", "attic/a.go": "package attic"}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := build(t, tc.files).check()
			switch {
			case tc.want == "" && len(got) > 0:
				t.Errorf("complains without reason: %q", got)
			case tc.want != "" && (len(got) != 1 || !strings.Contains(got[0], tc.want)):
				t.Errorf("complaints %q, want one with %q", got, tc.want)
			}
		})
	}
}

func TestNamesThatSayNothingAreFound(t *testing.T) {
	for _, dir := range []string{"util", "utils", "control/common", "types", "agent/manager"} {
		got := build(t, map[string]string{dir + "/x.go": source("x")}).check()
		if !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "says nothing") }) {
			t.Errorf("%s: complaints %q", dir, got)
		}
	}
}
