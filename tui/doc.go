// Package tui is what Cardea shows on a whole terminal.
//
// A screen knows nothing of the control plane: it is given what to show and what to do as
// values and functions, it tells its caller what a person chose, and it never dials. All
// that it does a verb of the CLI does as well. An error is a screen, and no end.
//
// Screens are models of bubbletea. They hold no text that was not made harmless before
// (ident.Text), use the terminal's own sixteen colours, so that they fit dark and light ones,
// say nothing by colour alone, and fit the width that they are given.
package tui
