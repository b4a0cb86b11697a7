package browse

import (
	"context"
	"fmt"
	"os"
)

// The variables from which Main learns who sits at the browser.
const (
	NameVariable     = "CARDEA_BROWSE_NAME"
	PasswordVariable = "CARDEA_BROWSE_PASSWORD"
	CodeVariable     = "CARDEA_BROWSE_CODE"
	PressVariable    = "CARDEA_BROWSE_PRESS"
)

// Main is a whole browser for a program that wants to be one: it visits the
// last argument as the person in the environment, and returns the exit code.
func Main(args []string) int {
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, "browse: no address")
		return 2
	}
	p := Person{Name: os.Getenv(NameVariable), Password: os.Getenv(PasswordVariable), Code: os.Getenv(CodeVariable), Press: os.Getenv(PressVariable)}
	page, err := p.Visit(context.Background(), args[len(args)-1])
	if err == nil && page.Status >= 400 {
		err = fmt.Errorf("status %d: %s", page.Status, page.Text)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "browse:", err)
		return 1
	}
	return 0
}
