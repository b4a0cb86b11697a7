// Package draw has what all screens are drawn with: their look, texts that fit so many
// cells, a line that a person types, a line of keys, and how an error is shown.
//
// Nothing here makes text of strangers harmless but Line and ProblemOf: whoever draws
// gives what ident.Text made of it.
package draw
