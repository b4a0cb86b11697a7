package store

import (
	"fmt"
	"testing"
	"time"
)

// host is an agent as far as beats go: what it has on disk, and its process.
type host struct {
	word, run, where, machine string
	number                    int64
	starts                    int
}

func (h *host) restart() *host {
	h.starts++
	h.run, h.number = fmt.Sprint(h.where, " run ", h.starts), 0
	return h
}

func newHost(where string) *host { return (&host{where: where, machine: "m-" + where}).restart() }

// copied is another host with the disk of h; it may know the machine's id to be
// the same.
func (h *host) copied(where string) *host {
	c := *h
	c.where = where
	return c.restart()
}

func (h *host) beat(next string) Beat {
	h.number++
	return Beat{Run: h.run, Number: h.number, Last: h.word, Next: next, Machine: h.machine, Where: h.where}
}

// control is the other side.
type control struct {
	r     Rhythm
	now   time.Time
	word  int
	epoch int64
}

// take judges b and gives the word of the answer.
func (c *control) take(b Beat) (Verdict, string) {
	var v Verdict
	b.Epoch = c.epoch
	c.r, v = c.r.Judge(b, c.now)
	if v != Goes {
		return v, ""
	}
	return v, c.r.Word
}

// report is a report that arrives, and whose answer is written down.
func (c *control) report(h *host) Verdict {
	c.word++
	v, word := c.take(h.beat(fmt.Sprint("word ", c.word)))
	if word != "" {
		h.word = word
	}
	return v
}

// lost is one whose answer does not come, or is not written down.
func (c *control) lost(h *host) Verdict {
	c.word++
	v, _ := c.take(h.beat(fmt.Sprint("word ", c.word)))
	return v
}

func TestAnHonestHostIsNeverTakenForTwo(t *testing.T) {
	for name, tell := range map[string]func(c *control, h *host) []Verdict{
		"it reports and reports": func(c *control, h *host) []Verdict { return []Verdict{c.report(h), c.report(h)} },
		"answers are lost, one after the other": func(c *control, h *host) []Verdict {
			return []Verdict{c.lost(h), c.lost(h), c.lost(h), c.report(h), c.report(h)}
		},
		"every second answer is lost": func(c *control, h *host) (out []Verdict) {
			for range 5 {
				out = append(out, c.lost(h), c.report(h))
			}
			return out
		},
		"it is killed between the answer and the writing, again and again": func(c *control, h *host) (out []Verdict) {
			for range 5 {
				out = append(out, c.lost(h))
				h.restart()
			}
			return append(out, c.report(h), c.report(h))
		},
		"it restarts": func(c *control, h *host) []Verdict {
			return []Verdict{c.report(h.restart()), c.report(h), c.report(h.restart())}
		},
		"it loses the file": func(c *control, h *host) []Verdict {
			h.word = ""
			return []Verdict{c.report(h), c.report(h)}
		},
		"the control plane forgets its last answers, after a failover": func(c *control, h *host) []Verdict {
			kept := c.r
			c.report(h)
			c.report(h)
			c.r = kept
			return []Verdict{c.report(h), c.report(h), c.report(h.restart()), c.report(h)}
		},
		"a backup of the control plane is restored, from before a restart": func(c *control, h *host) []Verdict {
			kept := c.r
			c.report(h)
			c.report(h.restart())
			c.report(h)
			c.r, c.epoch = kept, 2
			return []Verdict{c.report(h), c.report(h)}
		},
		"it moves to another address": func(c *control, h *host) []Verdict {
			h.where = "192.0.2.99"
			return []Verdict{c.report(h), c.report(h)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, h := &control{now: time.Now()}, newHost("192.0.2.1")
			c.report(h)
			c.report(h)
			for i, v := range tell(c, h) {
				if v != Goes {
					t.Errorf("report %d: %v", i, v)
				}
			}
		})
	}
}

func TestAReportThatComesTwiceOrLateHoldsNobody(t *testing.T) {
	c, h := &control{now: time.Now()}, newHost("192.0.2.1")
	c.report(h)
	twice := h.beat("w-a")
	v, word := c.take(twice)
	h.word = word
	late := h.beat("w-b")
	if again, _ := c.take(twice); v != Goes || again != Doubtful {
		t.Errorf("twice: %v %v", v, again)
	}
	if v := c.report(h); v != Goes {
		t.Errorf("the next: %v", v)
	}
	// late was sent before, and arrives when its process is no more.
	c.now = c.now.Add(DoubtLife)
	h.restart()
	c.report(h)
	c.report(h)
	if v, _ := c.take(late); v != Doubtful {
		t.Errorf("late: %v", v)
	}
	if v := c.report(h); v != Goes {
		t.Errorf("after it: %v", v)
	}
	if v, _ := c.take(late); v != Doubtful {
		t.Errorf("late and twice: %v", v)
	}
}

func TestTwoHostsAreFoundHoweverTheCopyWasMade(t *testing.T) {
	for name, tc := range map[string]struct {
		copy    func(h *host) *host
		reports int // of both, one after the other, until they must be found
	}{
		"a disk, and both go on":                        {func(h *host) *host { return h.copied("192.0.2.2") }, 3},
		"a disk, of a host that restarts meanwhile":     {func(h *host) *host { h.restart(); return h.copied("192.0.2.2") }, 3},
		"a disk whose word was removed":                 {func(h *host) *host { c := h.copied("192.0.2.2"); c.word = ""; return c }, 3},
		"a running machine with its memory":             {func(h *host) *host { c := *h; c.where = "192.0.2.2"; return &c }, 3},
		"a running machine, whose copy tried often":     {func(h *host) *host { c := *h; c.where, c.number = "192.0.2.2", c.number+20; return &c }, 3},
		"a disk on which only the machine's id differs": {func(h *host) *host { c := h.copied("192.0.2.2"); c.machine = "another"; return c }, 1},
	} {
		for _, first := range []string{"the copy first", "the original first"} {
			t.Run(name+", "+first, func(t *testing.T) {
				c, h := &control{now: time.Now()}, newHost("192.0.2.1")
				c.report(h)
				c.report(h)
				other := tc.copy(h)
				pair := []*host{other, h}
				if first != "the copy first" {
					pair = []*host{h, other}
				}
				for range tc.reports {
					for _, who := range pair {
						if c.report(who) == Copied {
							return
						}
						c.now = c.now.Add(5 * time.Minute / 2) // each reports every five minutes
					}
				}
				t.Error("nobody noticed")
			})
		}
	}
}

func TestADiskThatWasPutBackIsNoticed(t *testing.T) {
	c, h := &control{now: time.Now()}, newHost("192.0.2.1")
	c.report(h)
	snapshot := *h
	c.report(h)
	c.report(h)
	snapshot.restart()
	b := snapshot.beat("x")
	b.Run = "192.0.2.1 run of the restored host"
	if v, _ := c.take(b); v != Copied {
		t.Errorf("verdict %v", v)
	}
	if other := c.r.Other(b); other != "192.0.2.1" {
		t.Errorf("the other is at %s", other)
	}
}

func TestDoubtIsForgottenInTime(t *testing.T) {
	c, h := &control{now: time.Now()}, newHost("192.0.2.1")
	c.report(h)
	old := h.run
	c.report(h.restart())
	odd := func(n int64) Verdict {
		v, _ := c.take(Beat{Run: old, Number: n, Last: h.word, Next: "x"})
		return v
	}
	if v := odd(10); v != Doubtful {
		t.Errorf("first: %v", v)
	}
	c.now = c.now.Add(DoubtLife)
	if v := odd(11); v != Doubtful {
		t.Errorf("at the end of the doubt: %v", v)
	}
	c.now = c.now.Add(DoubtLife - time.Nanosecond)
	if v := odd(12); v != Copied {
		t.Errorf("within it: %v", v)
	}
}
