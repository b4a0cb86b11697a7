package login

import (
	"errors"
	"fmt"
	"io"
	"os"
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
	if words := windowsBrowser(kernelRelease(), exec.LookPath); words != nil {
		if exec.Command(words[0], append(words[1:], url)...).Run() == nil {
			return nil
		}
	}
	browser.Stdout, browser.Stderr = io.Discard, io.Discard
	if err := browser.OpenURL(url); err != nil {
		return errors.New("no browser could be started")
	}
	return nil
}

// windowsBrowser is the command that shows a page in the browser of Windows, from within
// the Linux that runs there; nil elsewhere. Windows leads its own 127.0.0.1 to ours. Each
// takes the address as one argument: no shell reads it.
func windowsBrowser(release string, find func(string) (string, error)) []string {
	if !strings.Contains(strings.ToLower(release), "microsoft") {
		return nil
	}
	if path, err := find("wslview"); err == nil {
		return []string{path}
	}
	for _, name := range []string{"rundll32.exe", "/mnt/c/Windows/System32/rundll32.exe"} {
		if path, err := find(name); err == nil {
			return []string{path, "url.dll,FileProtocolHandler"}
		}
	}
	return nil
}

// kernelRelease is Linux's word for itself; empty on other systems.
func kernelRelease() string {
	text, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return string(text)
}
