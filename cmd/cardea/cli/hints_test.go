package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// hint finds the commands that a sentence tells a person to type.
var hint = regexp.MustCompile("(?:type: |try: |with: |`|“)cardea ((?:[a-z][a-z-]*[ `]?)+)([0-9]?)")

// otherStyle is a command told in another way than "…; type: cardea …": what is
// to be copied stands last and without marks around it.
var otherStyle = regexp.MustCompile("(?:type|see|again) `cardea|\"`cardea|type cardea [a-z]")

// Every command that an error, a page or a document of any of the programs
// names is one that there is.
func TestEveryCommandThatIsToBeTypedExists(t *testing.T) {
	a, _, _ := testApp(t)
	root := newRoot(a)
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	seen := 0
	err := filepath.WalkDir("../../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." || strings.HasSuffix(path, "_test.go") {
			if d != nil && d.IsDir() && path != "../../.." {
				return fs.SkipDir
			}
			return err
		}
		if ext := filepath.Ext(path); d.IsDir() || ext != ".go" && ext != ".md" && ext != ".html" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		sentences := about(string(text))
		if s := otherStyle.FindString(sentences); s != "" && filepath.Ext(path) == ".go" {
			t.Errorf("%s says %q; say it as: type: cardea …", strings.TrimPrefix(path, "../../../"), s)
		}
		for _, m := range hint.FindAllStringSubmatch(sentences, -1) {
			if m[2] != "" {
				continue // "cardea hello v1" is a domain of signatures
			}
			words := strings.Fields(strings.Trim(m[1], "`"))
			cmd, _, err := root.Find(words)
			seen++
			if err != nil || cmd == root || cmd.HasSubCommands() && cmd.Name() != words[len(words)-1] {
				t.Errorf("%s tells to type %q, which does not exist", strings.TrimPrefix(path, "../../../"), "cardea "+strings.Join(words, " "))
			}
		}
		return nil
	})
	if err != nil || seen < 20 {
		t.Errorf("%d commands were looked at, %v", seen, err)
	}
}

// about returns the lines in which a command of cardea's can stand. Patterns take their time
// over all the rest, most of all with the race detector.
func about(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if strings.Contains(line, "cardea ") || strings.Contains(line, "`cardea") {
			out.WriteString(line)
		}
	}
	return out.String()
}

// shown is a command of cardea's in a document: in quotes of code, or on a line of its
// own behind a prompt or indented.
var shown = regexp.MustCompile("(?m)(?:`|^\\$ |^  )(cardea [a-z][^`#\n]*)")

// oneWord is what is one word for a shell, inline is code within a sentence.
var (
	oneWord = regexp.MustCompile(`'[^']*'`)
	inline  = regexp.MustCompile("`(cardea [a-z][^`]*)`")
)

// Whoever reads the documents types what they show: every command takes its flags, and
// where it stands on a line of its own its arguments, too.
func TestEveryCommandOfTheDocumentsIsTakenAsPrinted(t *testing.T) {
	files, err := filepath.Glob("../../../docs/*.md")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	seen := 0
	check := func(file, line string, whole bool) {
		line, _, _ = strings.Cut(line, "#")
		a, _, _ := testApp(t)
		root := newRoot(a)
		cmd, rest, err := root.Find(strings.Fields(oneWord.ReplaceAllString(line, "word"))[1:])
		if cmd.DisableFlagParsing || cmd.Name() == "ssh" {
			return
		}
		if err == nil && !slices.Contains(rest, "--help") {
			err = cmd.ParseFlags(rest)
		}
		if errors.Is(err, pflag.ErrHelp) {
			err = nil
		}
		if err == nil && whole && cmd.Args != nil {
			err = cmd.Args(cmd, cmd.Flags().Args())
		}
		if seen++; err != nil {
			t.Errorf("%s: %s: %v", filepath.Base(file), line, err)
		}
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, part := range strings.Split(string(text), "```") {
			if i%2 == 0 {
				for _, m := range inline.FindAllStringSubmatch(part, -1) {
					if !strings.Contains(m[1], "…") {
						check(file, strings.ReplaceAll(m[1], "\n", " "), false)
					}
				}
				continue
			}
			for line := range strings.Lines(part) {
				if strings.HasPrefix(line, "cardea ") {
					check(file, line, true)
				}
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d commands were found", seen)
	}
}

// A stranger types what the README shows: every command in it takes its flags and
// its arguments.
func TestEveryCommandOfTheReadmeIsTakenAsPrinted(t *testing.T) {
	text, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, m := range shown.FindAllStringSubmatch(string(text), -1) {
		a, _, _ := testApp(t)
		root := newRoot(a)
		cmd, rest, err := root.Find(strings.Fields(m[1])[1:])
		if err == nil && cmd.Name() != "proxycommand" && !slices.Contains(rest, "--help") { // that one is ssh's to run
			err = cmd.ParseFlags(rest)
			if err == nil && cmd.Args != nil {
				err = cmd.Args(cmd, cmd.Flags().Args())
			}
		}
		if seen++; err != nil {
			t.Errorf("%s: %v", m[1], err)
		}
	}
	if seen < 7 {
		t.Errorf("only %d commands were found", seen)
	}
}
