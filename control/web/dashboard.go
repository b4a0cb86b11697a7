package web

import "io"

// Frame is what every page of the dashboard has around it.
type Frame struct {
	Team string
	User string // who is signed in
}

// Enter asks whether somebody who is signed in at this browser wants the dashboard.
type Enter struct{ Team, Request, User string }

// Requests is the dashboard's first page.
type Requests struct {
	Frame
	Waiting, Mine, Answered []Request
	More                    bool // more wait than there are
	Anew                    int  // after how many seconds the page loads itself anew
}

// Request is a request for access in words.
type Request struct {
	ID, State, User string
	To              string // what was named
	Group, Rule     string // to be in the group is what is asked for
	For, Reason     string
	Asked, Since    string // when, and how long ago
	Until           string // how long it waits, or when the access ends
	By, Answer      string // empty where nobody answered
	InAdvance       bool   // By said yes before it was asked for
}

// RequestPage is one request, and what the person may try to do with it.
type RequestPage struct {
	Frame
	Request                     Request
	Own, Answers, Cancels, Ends bool
	Spans                       []Span // shorter times than what was asked for
	Problem                     string
	Comment                     string // as it was typed before the problem
	Again                       string // the project for which he has to show who he is; empty for none
	NotHere                     string // why he cannot say yes in a browser; empty if he can
}

// Span is a time that may be given.
type Span struct {
	Seconds int
	Text    string
}

// Enter writes the page that asks whether to open the dashboard.
func (p *Pages) Enter(w io.Writer, v Enter) error { return p.render(w, "enter.html", v) }

// Requests writes the dashboard's first page.
func (p *Pages) Requests(w io.Writer, v Requests) error { return p.render(w, "requests.html", v) }

// Request writes the page of one request.
func (p *Pages) Request(w io.Writer, v RequestPage) error { return p.render(w, "request.html", v) }
