package login

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"

	"github.com/pkg/browser"
)

// BrowserVariable names a command that is run with the URL as its last
// argument, in place of the desktop's browser.
const BrowserVariable = "CARDEA_BROWSER"

// OpenBrowser shows the URL to the person: by command if it is not empty, else
// in the desktop's browser. It may last as long as the browser does. What a
// browser prints goes nowhere: stdout and stderr belong to the command that
// began the sign-in.
func OpenBrowser(command, url string) error {
	if words := strings.Fields(command); len(words) > 0 {
		if err := exec.Command(words[0], append(words[1:], url)...).Run(); err != nil {
			return fmt.Errorf("%s=%s: %w", BrowserVariable, command, err)
		}
		return nil
	}
	browser.Stdout, browser.Stderr = io.Discard, io.Discard
	if err := browser.OpenURL(url); err != nil {
		return errors.New("no browser could be started")
	}
	return nil
}
