package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/ident"
)

// eventPrinter writes events as they come: one object on each line in JSON,
// columns for people. It cannot wait for the longest cell, so widths are fixed.
type eventPrinter struct {
	app    *app
	names  *idNames
	headed bool
}

func newEventPrinter(a *app, client *api.Client) *eventPrinter {
	return &eventPrinter{app: a, names: newIDNames(client)}
}

// eventLine is wide enough for nearly all: a log of a million events, names of
// 16 letters, gateway.session.order.
const eventLine = "%-6s  %-19s  %-21s  %-7s  %-16s  %s\n"

func (p *eventPrinter) print(ctx context.Context, events []api.AuditEvent) error {
	if p.app.output == asJSON {
		for _, e := range events {
			if err := json.NewEncoder(p.app.out).Encode(e); err != nil {
				return err
			}
		}
		return nil
	}
	if !p.headed && len(events) > 0 {
		p.headed = true
		if _, err := fmt.Fprintf(p.app.out, eventLine, "NUMBER", "TIME", "ACTION", "RESULT", "BY", "WHAT"); err != nil {
			return err
		}
	}
	p.learn(ctx, events)
	for _, e := range events {
		by := cell(p.names.of(e.Actor))
		at := e.At.Local().Format("2006-01-02 15:04:05")
		line := fmt.Sprintf(eventLine, strconv.FormatInt(e.Seq, 10), at, cell(e.Action), cell(e.Outcome), by, p.what(e))
		if _, err := fmt.Fprintln(p.app.out, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// learn asks for the names of all that the events are about, and takes from the
// events themselves what things were called that are gone.
func (p *eventPrinter) learn(ctx context.Context, events []api.AuditEvent) {
	var ids []string
	for _, e := range events {
		ids = append(slices.AppendSeq(ids, maps.Values(e.Detail)), e.Actor, e.User, e.Server, e.Project, e.Gateway)
	}
	p.names.learn(ctx, ids)
	for _, e := range events {
		kind, _, _ := strings.Cut(e.Action, ".")
		about := map[string]string{
			"user": e.User, "group": e.Detail["group"], "project": e.Project, "server": e.Server, "gateway": e.Gateway,
			"entitlement": e.Detail["entitlement"],
		}
		p.names.name(about[kind], e.Detail["name"])
	}
}

// what is whom and what an event is about, without what a person cannot use.
func (p *eventPrinter) what(e api.AuditEvent) string {
	var words, told []string
	add := func(key, value string) {
		if value != "" {
			words, told = append(words, key+"="+quoted(value)), append(told, value)
		}
	}
	add("reason", e.Reason)
	for _, f := range [][2]string{{"user", e.User}, {"server", e.Server}, {"project", e.Project}, {"gateway", e.Gateway}} {
		if f[1] != e.Actor {
			add(f[0], p.names.of(f[1]))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(e.Detail)) {
		v := p.names.of(e.Detail[k])
		again := k == "name" && slices.Contains(told, v) || slices.Contains(words, k+"="+quoted(v))
		if !again && !finePrint(k, v) {
			add(k, v)
		}
	}
	add("source", e.Source)
	if strings.HasPrefix(e.Action, "instance.") {
		add("instance", e.Instance)
	}
	return strings.Join(words, " ")
}

// finePrint tells whether a detail is for programs alone: an id of what has no
// name, a key, a number that is looked up elsewhere, a second time of day.
func finePrint(key, value string) bool {
	switch key {
	case "at", "key", "key_id", "serial":
		return true
	case "verified":
		return value == "true" // the other answer is one to see
	}
	for _, prefix := range []string{
		ident.Team, ident.Grant, ident.Device, ident.Session, ident.BrowserSession, ident.GatewaySession,
		ident.Enrolment, ident.Key, ident.AuthRequest, ident.Ticket,
	} {
		if ident.Check(value, prefix) == nil {
			return true
		}
	}
	return false
}

// quoted keeps one word one word.
func quoted(s string) string {
	s = ident.Text(s)
	if strings.ContainsAny(s, " \"=") {
		return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"`
	}
	return s
}
