package cli

import (
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// What nobody can know before it is typed, or what is short enough to type.
var untold = regexp.MustCompile(`^(NAME|URL|HOST|PORT|CODE|COMMAND|VERB|AGE|KEY|GRANT|RULE|TOKEN|THUMBPRINT|FINGERPRINT|WORD|USERNAME|LOGIN)`)

// An argument that a Tab offers nothing for is either on this list or was forgotten.
func TestATabKnowsEachArgumentThatSomethingLists(t *testing.T) {
	a, _, _ := testApp(t)
	root := newRoot(a)
	var look func(*cobra.Command)
	look = func(cmd *cobra.Command) {
		if cmd.Runnable() && cmd.ValidArgsFunction == nil && !fileArguments.MatchString(cmd.Use) && !cmd.Hidden {
			var args []string
			for range len(strings.Fields(cmd.Use)) - 1 {
				word, _ := argumentOf(cmd.Use, args)
				args = append(args, "x")
				known := a.idsBy(strings.TrimPrefix(cmd.CommandPath(), "cardea "), word) != nil || forAdmins(cmd) && namedBy[word] != nil
				if !known && !untold.MatchString(word) {
					t.Errorf("%s: nothing is offered for %s", cmd.CommandPath(), word)
				}
			}
		}
		for _, c := range cmd.Commands() {
			look(c)
		}
	}
	look(root)
}
