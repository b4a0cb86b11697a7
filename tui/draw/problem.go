package draw

import "github.com/cardea-ssh/cardea/internal/ident"

// Problem is an error as a person reads it.
type Problem struct{ Text, Hint string }

func (p *Problem) Error() string { return p.Text }

// ProblemOf is an error, made harmless. One that is no *Problem is shown as it is.
func ProblemOf(err error) Problem {
	out := Problem{Text: err.Error()}
	if p, ok := err.(*Problem); ok {
		out = *p
	}
	return Problem{ident.Text(out.Text), ident.Text(out.Hint)}
}

// Problem is the screen that an error is.
func (l Look) Problem(p Problem, width int) []string {
	out := []string{l.Alarm.Render("That did not work"), ""}
	out = append(out, Wrap(p.Text, width, 4)...)
	if p.Hint != "" {
		out = append(out, "")
		out = append(out, Wrap(p.Hint, width, 4)...)
	}
	return out
}
