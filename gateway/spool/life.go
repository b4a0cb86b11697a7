package spool

import (
	"fmt"
	"slices"
)

// State is how far a recording is.
type State string

// The states, in their order; none goes back.
const (
	Recording State = "recording" // the session lives, or its gateway died
	Finished  State = "finished"  // no byte is added any more
	Stored    State = "stored"    // all that there is of it is stored, and its manifest
)

func (s State) known() bool { return s == Recording || s == Finished || s == Stored }

// Kept is where a segment is.
type Kept string

// Where it can be.
const (
	Here  Kept = "here"  // in the spool alone
	There Kept = "there" // its copy was read back from the bucket
	Aside Kept = "aside" // in quarantine
)

func (k Kept) known() bool { return k == Here || k == There || k == Aside }

// Task is something that has to be done for a recording next.
type Task struct {
	Do     Action
	Number int // of a segment; 0 for what concerns the recording
}

// Action says what.
type Action string

// The actions.
const (
	StoreSegment  Action = "store segment"    // and read it back: then it is There
	RemoveSegment Action = "remove segment"   // its file, here
	StoreManifest Action = "store manifest"   // then the recording is Stored
	Tell          Action = "tell"             // the control plane how far it is
	RemoveFolder  Action = "remove recording" // which has no segment any more
)

// tasks is the whole life of a recording after its bytes are written. It is pure: m
// is what meta.json says, present whether the file of a segment is in the folder,
// told whether the control plane has heard what m says.
//
// Nothing is removed here but what is There: a copy in the bucket that was read back,
// which meta.json must have said durably before.
func tasks(m *Meta, present func(number int) bool, told bool) []Task {
	var out []Task
	waiting := false
	for _, s := range m.Segments {
		switch {
		case s.Kept == Here:
			waiting = true
			out = append(out, Task{StoreSegment, s.Number})
		case s.Kept == There && removable(m, s.Number) && present(s.Number):
			out = append(out, Task{RemoveSegment, s.Number})
		}
	}
	if m.State == Finished && !waiting {
		out = append(out, Task{Do: StoreManifest})
	}
	if !told {
		out = append(out, Task{Do: Tell})
	}
	if m.State == Stored && told && !slices.ContainsFunc(m.Segments, func(s Segment) bool { return s.Kept == Here || present(s.Number) }) {
		out = append(out, Task{Do: RemoveFolder})
	}
	return out
}

// removable keeps the last complete segment of a recording that is not over: if its
// gateway dies, the chain is carried on from there.
func removable(m *Meta, number int) bool { return m.State != Recording || number < m.last() }

// to moves the recording on; going back is a mistake in the program.
func (m *Meta) to(next State) error {
	order := []State{Recording, Finished, Stored}
	from, to := slices.Index(order, m.State), slices.Index(order, next)
	if to != from+1 {
		return fmt.Errorf("a recording cannot go from %q to %q", m.State, next)
	}
	if next != Recording && m.End == nil {
		return fmt.Errorf("a recording that is %q has no end", next)
	}
	if next == Stored && slices.ContainsFunc(m.Segments, func(s Segment) bool { return s.Kept == Here }) {
		return fmt.Errorf("a recording is not stored while a segment is here alone")
	}
	m.State = next
	return nil
}

// keep moves a segment on: from Here to There or Aside, and no other way.
func (m *Meta) keep(number int, where Kept) error {
	s := m.segment(number)
	if s == nil {
		return fmt.Errorf("there is no segment %d", number)
	}
	if s.Kept != Here || where == Here {
		return fmt.Errorf("segment %d cannot go from %q to %q", number, s.Kept, where)
	}
	s.Kept = where
	return nil
}
