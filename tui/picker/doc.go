// Package picker is the screen on which a person finds a server and does something with it:
// the one that stays open all day.
//
// It is given the servers as values, and functions for what it cannot do itself (Wires). It
// shows what it was given first at once, and takes what is newer when that comes, without
// moving what is chosen. What the person decides is a Choice, for its caller to do. It knows
// nothing of the control plane, dials nothing and keeps nothing.
package picker
