package main

import (
	"fmt"
	"io"
)

// goal is one thing that was promised.
type goal struct {
	What string  `json:"what"`
	Want string  `json:"want"`
	Got  float64 `json:"got"`
	Met  bool    `json:"met"`
}

// promise is a goal before it is known what came out. Of the value in the named
// cell, less that of minus if there is one.
type promise struct {
	what             string
	table, name, key string
	minus            string // another row of the table
	most, least      float64
}

// promises are what Cardea is built to reach. A limit of zero is none, but for
// those that end with "none".
var promises = []promise{
	{what: "ssh through a gateway, against plain ssh", table: "wall", name: wayPipe, key: "ratio", most: 0.90},
	{what: "cardea ssh, against plain ssh", table: "wall", name: wayPass, key: "ratio", most: 0.90},
	{what: "50 ms away: added round trips", table: "far", name: wayPipe, key: "trips", most: 1},
	{what: "50 ms away: added round trips, cardea ssh", table: "far", name: wayPass, key: "trips", most: 1},
	{what: "added to a bare ProxyCommand, wall ms", table: "wall", name: wayPipe, key: "wall_ms", minus: wayCopy, most: 10},
	{what: "added to a bare ProxyCommand, CPU ms", table: "wall", name: wayPipe, key: "cpu_ms", minus: wayCopy, most: 10},
	{what: "bulk up, descriptor passed, against plain ssh", table: "bulk", name: wayPass, key: "up_ratio", least: 1},
	{what: "bulk down, descriptor passed, against plain ssh", table: "bulk", name: wayPass, key: "down_ratio", least: 1},
	{what: "bulk up, same cipher", table: "bulk-aes", name: wayPass, key: "up_ratio", least: 0.6},
	{what: "bulk down, same cipher", table: "bulk-aes", name: wayPass, key: "down_ratio", least: 0.95},
	{what: "gateway CPU-s per GB, up", table: "bulk", name: wayPass, key: "up_middle", most: 0.55},
	{what: "gateway CPU-s per GB, down", table: "bulk", name: wayPass, key: "down_middle", most: 0.55},
	{what: "50 at once, against plain ssh", table: "storm-50", name: wayPipe, key: "ratio", most: 0.8},
	{what: "200 at once, against plain ssh", table: "storm-200", name: wayPipe, key: "ratio", most: 0.8},
	{what: "200 at once, failures", table: "storm-200", name: wayPipe, key: "failures"},
	{what: "200 at once, orphans", table: "storm-200", name: wayPipe, key: "orphans"},
	{what: "200 at once, sessions left at gateways", table: "storm-200", name: wayPipe, key: "sessions"},
	{what: "recorded: ssh host true, against plain ssh", table: "record-wall", name: wayPipe, key: "ratio", most: 0.85},
	{what: "recorded: bulk up, against plain ssh", table: "record-bulk", name: wayPipe, key: "up_ratio", least: 0.6},
	{what: "recorded: bulk down, against plain ssh", table: "record-bulk", name: wayPipe, key: "down_ratio", least: 0.6},
	{what: "recorded: gateway CPU-s per GB, up", table: "record-bulk", name: wayPipe, key: "up_middle", most: 2.2},
	{what: "recorded: gateway CPU-s per GB, down", table: "record-bulk", name: wayPipe, key: "down_middle", most: 2.2},
	{what: "recorded: 50 at once, against plain ssh", table: "record-storm-50", name: wayPipe, key: "ratio", most: 0.5},
	{what: "recorded: 200 at once, against plain ssh", table: "record-storm-200", name: wayPipe, key: "ratio", most: 0.5},
	{what: "recorded: 200 at once, failures", table: "record-storm-200", name: wayPipe, key: "failures"},
	{what: "recorded: echo of a key, added p99 ms", table: "record-echo", name: wayPipe, key: "p99_ms", minus: wayDirect, most: 2},
	{what: "connect/s, SQLite", table: "connect", name: engineSQLite, key: "per_second", least: 1500},
	{what: "connect/s, PostgreSQL", table: "connect", name: enginePostgres, key: "per_second", least: 1000},
	{what: "connect p99 ms, SQLite", table: "connect", name: engineSQLite, key: "p99_ms", most: 50},
	{what: "connect p99 ms, PostgreSQL", table: "connect", name: enginePostgres, key: "p99_ms", most: 50},
	{what: "cardea version, ms", table: "start", name: startVersion, key: "wall_ms", most: 10},
	{what: "cardea proxycommand, start, ms", table: "start", name: startHelper, key: "wall_ms", most: 10},
	{what: "cardea ls, ms", table: "start", name: startList, key: "wall_ms", most: 50},
	{what: "ssh -G with 5,000 servers, ms more than with one", table: "start", name: readMany, key: "wall_ms", minus: readOne, most: 15},
	{what: "10,000 servers: cardea ls, ms", table: "many", name: manyList, key: "wall_ms", most: 50},
	{what: "10,000 servers: completion of a name, ms", table: "many", name: manyComplete, key: "wall_ms", most: 30},
	{what: "10,000 servers: picker, first servers, ms", table: "many", name: manyPaint, key: "wall_ms", most: 50},
	{what: "10,000 servers: picker, key to frame, ms", table: "many", name: manyKey, key: "wall_ms", most: 16},
	{what: "idle memory MiB, server agent", table: "memory", name: "cardea-server-agent", key: "rss_mib", most: 20},
	{what: "idle memory MiB, gateway", table: "memory", name: "cardea-gateway", key: "rss_mib", most: 25},
	{what: "idle memory MiB, control plane", table: "memory", name: "cardea-control", key: "rss_mib", most: 60},
	{what: "idle memory MiB, local agent", table: "memory", name: "cardea agent", key: "rss_mib", most: 25},
	{what: "5,000 accounts, s", table: "accounts", name: crowdPlain, key: "wall_s", most: 60},
	{what: "5,000 accounts, MiB of the server agent", table: "accounts", name: crowdPlain, key: "peak_mib", most: 150},
	{what: "5,000 accounts with 40 sudo commands each, s", table: "accounts", name: crowdSudo, key: "wall_s", most: 60},
	{what: "5,000 with 40 each, MiB of the server agent", table: "accounts", name: crowdSudo, key: "peak_mib", most: 150},
	{what: "from a grant to a shell, most ms", table: "grant", name: grantRow, key: "most_ms", most: 2000},
}

// judge compares a report with the promises; what was not measured is left out.
func judge(r *report) []goal {
	goals := []goal{}
	for _, p := range promises {
		v, ok := r.value(p.table, p.name, p.key)
		if !ok {
			continue
		}
		if p.minus != "" {
			less, ok := r.value(p.table, p.minus, p.key)
			if !ok {
				continue
			}
			v -= less
		}
		g := goal{What: p.what, Got: v}
		switch {
		case p.least > 0:
			g.Want, g.Met = fmt.Sprintf("at least %g", p.least), v >= p.least
		case p.most > 0:
			g.Want, g.Met = fmt.Sprintf("at most %g", p.most), v <= p.most
		default:
			g.Want, g.Met = "none", v == 0
		}
		goals = append(goals, g)
	}
	return goals
}

func printGoals(out io.Writer, goals []goal) {
	if len(goals) == 0 {
		return
	}
	fmt.Fprintln(out, "\nGoals")
	for _, g := range goals {
		mark := "met"
		if !g.Met {
			mark = "MISSED"
		}
		fmt.Fprintf(out, "  %-50s %10.2f   %-15s %s\n", g.What, g.Got, g.Want, mark)
	}
}
