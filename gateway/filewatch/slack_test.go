package filewatch

import (
	"strings"
	"testing"
)

// TestAServerTellsNothingBesideItsFiles: nobody keeps the bytes of a watched transfer, so a
// server that works together with its user must find no place in it for other things.
func TestAServerTellsNothingBesideItsFiles(t *testing.T) {
	t.Parallel()
	secret := strings.Repeat("a secret ", 300)
	more := func(b []byte) []byte { // the same packet, with something behind its fields
		b = append(b, secret...)
		n := len(b) - 4
		b[0], b[1], b[2], b[3] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
		return b
	}
	for name, do := range map[string]func(*talk){
		"a second version": func(t *talk) { t.server(packet(pktVersion, 3, "x", "y")) },
		"behind a handle": func(t *talk) {
			t.user(packet(pktOpen, 1, "/f", openRead, 0))
			t.server(more(packet(pktHandle, 1, "h")))
		},
		"behind data": func(t *talk) {
			t.open(openRead)
			t.user(packet(pktRead, 2, "h", uint64(0), 3))
			t.server(more(packet(pktData, 2, "abc")))
		},
		"data of no file":                 func(t *talk) { t.user(packet(pktRead, 2, "none", uint64(0), 3)); t.server(packet(pktData, 2, secret)) },
		"behind attributes":               func(t *talk) { t.user(packet(pktFstat, 2, "h")); t.server(more(packet(pktAttrs, 2, 0))) },
		"behind a status":                 func(t *talk) { t.user(packet(pktRemove, 2, "/f")); t.server(more(packet(pktStatus, 2, 0, "", ""))) },
		"names in answer to nothing such": func(t *talk) { t.user(packet(pktRemove, 2, "/f")); t.server(packet(pktName, 2, 1, secret, "", 0)) },
		"a reply to what was no question": func(t *talk) { t.user(packet(99, 2)); t.server(packet(pktReply, 2, "x")) },
		"a kind that nobody knows":        func(t *talk) { t.user(packet(99, 2)); t.server(packet(150, 2, secret)) },
	} {
		k := newTalk()
		do(k)
		if n := len(k.rows); n == 0 || !strings.Contains(k.rows[n-1], "followed") {
			t.Errorf("sftp, %s: %q", name, k.rows)
		}
	}
	first := &talk{}
	first.w = Subsystem("sftp", first.emit)
	first.server(more(packet(pktVersion, 3)))
	if len(first.rows) != 1 {
		t.Errorf("sftp, behind the version: %q", first.rows)
	}
	for name, tc := range map[string]struct{ command, server, user string }{
		"lines that are no answers":    {"scp -t x", "root:x:0:0\n", ""},
		"an error that is too long":    {"scp -t x", "\x01" + secret + "\n", ""},
		"errors over errors in a file": {"scp -t x", "\x00\x00\x01one\n\x01two\n", "C0644 10 f\nabc"},
		"times that are none":          {"scp -f x", "T0 0 0 secret\n", "\x00"},
		"times that are long":          {"scp -f x", "T" + strings.Repeat("7", 200) + "\n", "\x00"},
		"a mode that is long":          {"scp -f x", "C" + strings.Repeat("7", 200) + " 1 f\n", "\x00"},
		"a size with zeros before it":  {"scp -f x", "C0644 " + strings.Repeat("0", 200) + "1 f\n", "\x00"},
		"a name longer than any":       {"scp -f x", "C0644 1 " + strings.Repeat("f", maxPath+1) + "\n", "\x00"},
		"a fault that is too long":     {"scp -f x", "\x01" + secret + "\n", "\x00"},
	} {
		k := &talk{}
		k.w = Exec(tc.command, k.emit)
		if strings.Contains(tc.command, "-t") {
			k.server([]byte(tc.server[:min(2, strings.LastIndexByte(tc.server, 0)+1)]))
			if tc.user != "" {
				k.user([]byte(tc.user))
				k.server([]byte(tc.server[2:]))
			} else {
				k.server([]byte(tc.server))
			}
		} else {
			k.user([]byte(tc.user))
			k.server([]byte(tc.server))
		}
		if n := len(k.rows); n == 0 || !strings.Contains(k.rows[n-1], "followed") {
			t.Errorf("scp, %s: %q", name, k.rows)
		}
	}
	// An empty folder is named too.
	k := &talk{}
	k.w = Exec("scp -r -f x", k.emit)
	k.user([]byte("\x00"))
	k.server([]byte("D0755 0 a secret\n"))
	k.user([]byte("\x00"))
	k.server([]byte("E\n"))
	if len(k.rows) != 1 || !strings.Contains(k.rows[0], "a secret") {
		t.Errorf("scp, an empty folder: %q", k.rows)
	}
}
