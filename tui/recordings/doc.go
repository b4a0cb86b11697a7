// Package recordings is the screen on which a person finds a recorded session and has it
// played.
//
// It is given pages of recordings as values, and two functions for what it cannot do itself
// (Wires). Nothing of what it shows is secret: what a session showed is sealed, and is played
// by its caller on the whole terminal, after which the screen is there again.
package recordings
