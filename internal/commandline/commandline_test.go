package commandline_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/internal/commandline"
)

type build string

func (b build) String() string { return string(b) }

func program(result error) *cobra.Command {
	root := &cobra.Command{Use: "daemon", Short: "A daemon"}
	serve := &cobra.Command{Use: "serve", RunE: func(*cobra.Command, []string) error { return result }}
	serve.Flags().Int("port", 0, "")
	root.AddCommand(serve)
	return commandline.Prepare(root, build("1.2.3"))
}

func run(result error, args ...string) (code int, stdout, stderr string) {
	var out, errs strings.Builder
	code = commandline.Run(context.Background(), program(result), args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestExitCodesAndTheOneLine(t *testing.T) {
	wrong := commandline.Wrongf("listen %q is no address", "x")
	for _, tc := range []struct {
		name   string
		result error
		args   []string
		code   int
		stderr string
	}{
		{"done", nil, []string{"serve"}, 0, ""},
		{"a failure of the world", errors.New("no route"), []string{"serve"}, 1, "daemon: no route\n"},
		{"a failure of several lines", errors.Join(errors.New("one"), errors.New("two")), []string{"serve"}, 1, "daemon: one two\n"},
		{"a wrong value", wrong, []string{"serve"}, 2, "daemon: listen \"x\" is no address; type: daemon serve --help\n"},
		{"a wrong value, wrapped", fmt.Errorf("serve: %w", wrong), []string{"serve"}, 2, "daemon: serve: listen \"x\" is no address; type: daemon serve --help\n"},
		{"a wrong value that says what to do", commandline.Wrongf("no TLS; give https"), []string{"serve"}, 2, "daemon: no TLS; give https\n"},
		{"an unknown flag", nil, []string{"serve", "--prot=1"}, 2, "daemon: unknown flag: --prot; type: daemon serve --help\n"},
		{"a flag's value of another type", nil, []string{"serve", "--port=x"}, 2, `invalid argument "x" for "--port" flag`},
		{"an unknown verb", nil, []string{"sever"}, 2, "daemon: \"sever\" is not a verb of daemon; type: daemon --help\n"},
		{"a word too many", nil, []string{"serve", "now"}, 2, "daemon: \"now\" is one word too many; type: daemon serve --help\n"},
		{"a word behind version", nil, []string{"version", "now"}, 2, "one word too many"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, stdout, stderr := run(tc.result, tc.args...)
			if code != tc.code || stdout != "" || !strings.Contains(stderr, tc.stderr) || strings.Count(stderr, "\n") != min(code, 1) {
				t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
			}
		})
	}
}

func TestWithoutAVerbThereIsHelpAndVersionNeedsNothing(t *testing.T) {
	if code, out, _ := run(nil); code != 0 || !strings.Contains(out, "daemon [command]") {
		t.Errorf("code %d, %q", code, out)
	}
	for _, word := range []string{"version", "--version"} {
		if code, out, _ := run(nil, word); code != 0 || out != "daemon 1.2.3\n" {
			t.Errorf("%s: code %d, %q", word, code, out)
		}
	}
}

func TestNothingIsNoMistake(t *testing.T) {
	if err := commandline.Wrong(nil); err != nil {
		t.Error(err)
	}
}
