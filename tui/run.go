package tui

import (
	"context"
	"errors"
	"io"

	tea "charm.land/bubbletea/v2"
)

// Run shows a screen on a terminal until the person has enough, or ctx is done. The
// variables of the environment say what the terminal can do, NO_COLOR among them.
func Run(ctx context.Context, screen tea.Model, in io.Reader, out io.Writer, environment []string) error {
	p := tea.NewProgram(screen, tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out), tea.WithEnvironment(environment), tea.WithoutSignalHandler())
	_, err := p.Run()
	if errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
