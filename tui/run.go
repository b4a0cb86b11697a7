package tui

import (
	"context"
	"errors"
	"io"

	tea "charm.land/bubbletea/v2"
)

// frames is how often a second a screen may be painted anew, if there is something new. A key
// waits half a frame on average before it is seen: 6 ms, and 8 with the library's own 60. With
// 120 it would be 4, but each look costs a screen that stays open all day some CPU.
const frames = 80

// Run shows a screen on a terminal until the person has enough, or ctx is done. The
// variables of the environment say what the terminal can do, NO_COLOR among them.
func Run(ctx context.Context, screen tea.Model, in io.Reader, out io.Writer, environment []string) error {
	p := tea.NewProgram(screen, tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out), tea.WithEnvironment(environment), tea.WithoutSignalHandler(), tea.WithFPS(frames))
	_, err := p.Run()
	if errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
