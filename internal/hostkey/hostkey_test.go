package hostkey

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"os"
	"strings"
	"testing"
)

const banner = "SSH-2.0-Test\r\n"

func str(s string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(s)))) + s
}

func packet(payload string) string {
	const padding = 4
	return string(binary.BigEndian.AppendUint32(nil, uint32(1+len(payload)+padding))) + "\x04" + payload + strings.Repeat("\x00", padding)
}

func kexInit(algorithms string) string {
	lists := str("curve25519-sha256") + str(algorithms) + strings.Repeat(str(""), 8)
	return packet("\x14" + strings.Repeat("c", 16) + lists + "\x00" + strings.Repeat("\x00", 4))
}

func hostKey(size int) string {
	return str("ssh-test") + strings.Repeat("k", size-len(str("ssh-test")))
}

func reply(number byte, key string) string {
	return packet(string(number) + str(key) + str("q") + str("signature"))
}

// group is what comes under the number of a reply in an exchange by RFC 4419.
func group() string {
	return packet("\x1f" + str("\x00\xff"+strings.Repeat("p", 255)) + str("\x02"))
}

func TestWhatIsFound(t *testing.T) {
	key := hostKey(51)
	line := "ssh-test " + base64.StdEncoding.EncodeToString([]byte(key))
	begin := banner + kexInit("ssh-test")
	silence := packet("\x02" + str("x"))
	newKeys := packet("\x15")
	for name, c := range map[string]struct {
		sent   string
		line   string
		done   bool
		hidden bool
	}{
		"a reply by RFC 5656":                       {begin + reply(31, key), line, true, false},
		"a reply with the group first":              {begin + group() + reply(33, key), line, true, false},
		"text before the identification":            {"Welcome\r\n\r\n" + begin + reply(31, key), line, true, false},
		"a line end without a carriage return":      {"SSH-2.0-x\n" + kexInit("a") + reply(31, key), line, true, false},
		"packets that say nothing":                  {begin + silence + packet("\x04\x00"+str("")+str("")) + packet("\x03\x00\x00\x00\x00") + reply(31, key), line, true, false},
		"as many packets as may be":                 {begin + strings.Repeat(silence, maxPackets-2) + reply(31, key), line, true, false},
		"one packet more":                           {begin + strings.Repeat(silence, maxPackets-1) + reply(31, key), "", true, true},
		"what follows is nobody's business":         {begin + reply(31, key) + newKeys + reply(31, "other key"), line, true, false},
		"the server says no":                        {begin + packet("\x01\x00\x00\x00\x03") + reply(31, key), "", true, false},
		"the server says no in words":               {banner + "Invalid SSH identification string.\r\n", "", true, false},
		"words where a packet was before":           {begin + "Invalid SSH identification string.\r\n", "", true, true},
		"something that is no word":                 {banner + "Inv\x7f" + strings.Repeat("x", 40), "", true, true},
		"new keys without a reply":                  {begin + newKeys, "", true, true},
		"a reply of another kind":                   {begin + packet("\x1e"+str(key)+str("rsa")), "", true, true},
		"an end before the key":                     {begin, "", false, false},
		"half a packet":                             {begin + reply(31, key)[:40], "", false, false},
		"nothing":                                   {"", "", false, false},
		"no SSH at all":                             {"HTTP/1.1 400 Bad Request\r\n\r\n", "", false, false},
		"a packet that is too long":                 {banner + string(binary.BigEndian.AppendUint32(nil, maxPacket+1)), "", true, true},
		"a packet of the longest kind":              {banner + string(binary.BigEndian.AppendUint32(nil, maxPacket)), "", false, false},
		"a packet without room for a message":       {banner + "\x00\x00\x00\x01\x00", "", true, true},
		"padding that is longer than the packet":    {banner + "\x00\x00\x00\x05\x04\x02\x00\x00\x00", "", true, true},
		"a KEXINIT that is cut":                     {banner + packet("\x14short"), "", true, true},
		"a KEXINIT without its second list":         {banner + packet("\x14"+strings.Repeat("c", 16)+str("a")), "", true, true},
		"a reply whose key is longer than itself":   {begin + packet("\x1f\x00\x00\xff\xff"), "", true, true},
		"a reply without a key":                     {begin + reply(31, ""), "", true, true},
		"the shortest key":                          {begin + reply(31, str("a")+str("")), "a " + base64.StdEncoding.EncodeToString([]byte(str("a")+str(""))), true, false},
		"a key one byte shorter":                    {begin + reply(31, str("a")+"\x00\x00\x00"), "", true, true},
		"the longest key":                           {begin + reply(31, hostKey(MaxKey)), "ssh-test " + base64.StdEncoding.EncodeToString([]byte(hostKey(MaxKey))), true, false},
		"a longer key, of which the beginning":      {begin + reply(31, hostKey(MaxKey+1)), "ssh-test " + base64.StdEncoding.EncodeToString([]byte(hostKey(MaxKey))), true, false},
		"a key whose name would move a cursor":      {begin + reply(31, str("a b\x1b[2J\xff")+str("")), "a?b?[2J? " + base64.StdEncoding.EncodeToString([]byte(str("a b\x1b[2J\xff")+str(""))), true, false},
		"a key whose name is no name":               {begin + reply(31, "\xff\xff\xff\xff12345"), "? " + base64.StdEncoding.EncodeToString([]byte("\xff\xff\xff\xff12345")), true, false},
		"the longest line":                          {strings.Repeat("x", maxLine) + "\n" + begin + reply(31, key), line, true, false},
		"a longer line":                             {strings.Repeat("x", maxLine+1) + "\n" + begin + reply(31, key), "", true, true},
		"lines up to the limit of all":              {strings.Repeat("x\n", maxBytes/2-1), "", false, false},
		"lines beyond it":                           {strings.Repeat("x\n", maxBytes/2), "", true, true},
		"packets up to the limit of all, then more": {begin + strings.Repeat(packet("\x02"+strings.Repeat("x", 30000)), 3), "", true, true},
	} {
		for _, size := range []int{1, 7, 4096, len(c.sent) + 1} {
			var r Reader
			for rest := []byte(c.sent); len(rest) > 0; {
				piece := rest[:min(size, len(rest))]
				rest = rest[len(piece):]
				if n, err := r.Write(piece); n != len(piece) || err != nil {
					t.Fatalf("%s: Write: %d, %v", name, n, err)
				}
			}
			if r.Line() != c.line || r.Done() != c.done || r.Hidden() != c.hidden {
				t.Errorf("%s in pieces of %d: %.100q, done %v, hidden %v", name, size, r.Line(), r.Done(), r.Hidden())
			}
		}
	}
}

func TestTheOffer(t *testing.T) {
	for name, c := range map[string]struct{ offer, want string }{
		"as it is":              {"ssh-ed25519,rsa-sha2-512", "ssh-ed25519,rsa-sha2-512"},
		"nothing":               {"", "?"},
		"what moves a cursor":   {"a\x1b[2J b", "a?[2J?b"},
		"the longest":           {strings.Repeat("a", MaxAlgorithms), strings.Repeat("a", MaxAlgorithms)},
		"a longer one, cut":     {strings.Repeat("a", MaxAlgorithms+1), strings.Repeat("a", MaxAlgorithms)},
		"no text":               {"\xff\xfe", "??"},
		"one of many, and more": {"a,b", "a,b"},
	} {
		var r Reader
		r.Write([]byte(banner + kexInit(c.offer)))
		if r.Algorithms() != c.want || r.Done() {
			t.Errorf("%s: %q", name, r.Algorithms())
		}
	}
	if new(Reader).Algorithms() != "" {
		t.Error("something was offered before anything came")
	}
}

// TestARecordedServer reads what sshd 9.2 once sent: with a host certificate by
// curve25519, and with a plain key by diffie-hellman-group-exchange.
func TestARecordedServer(t *testing.T) {
	for file, name := range map[string]string{
		"testdata/certificate-curve25519": "ssh-ed25519-cert-v01@openssh.com ",
		"testdata/plain-group-exchange":   "ssh-ed25519 ",
	} {
		sent, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var r Reader
		r.Write(sent)
		if !strings.HasPrefix(r.Line(), name+"AAAA") || r.Hidden() || !strings.Contains(r.Algorithms(), strings.TrimSpace(name)) {
			t.Errorf("%s: %.60q, %q, hidden %v", file, r.Line(), r.Algorithms(), r.Hidden())
		}
	}
}

func FuzzReader(f *testing.F) {
	for _, file := range []string{"testdata/certificate-curve25519", "testdata/plain-group-exchange"} {
		if sent, err := os.ReadFile(file); err == nil {
			f.Add(sent, 100)
		}
	}
	f.Add([]byte(banner+kexInit("a")+group()+reply(33, hostKey(40))), 3)
	f.Add([]byte("x\n\xff"), 1)
	f.Fuzz(func(t *testing.T, sent []byte, size int) {
		before := bytes.Clone(sent)
		var whole, pieces Reader
		whole.Write(sent)
		for rest := sent; len(rest) > 0; {
			piece := rest[:min(max(size, 1), len(rest))]
			rest = rest[len(piece):]
			pieces.Write(piece)
			if len(pieces.rest) > maxBytes+len(piece) || pieces.done && pieces.rest != nil {
				t.Fatalf("%d bytes are held", len(pieces.rest))
			}
		}
		if !bytes.Equal(before, sent) {
			t.Fatal("it changes what passes")
		}
		if strings.ContainsAny(whole.Line()+whole.Algorithms(), "\n\r\x1b") || len(whole.Line()) > maxName+1+base64.StdEncoding.EncodedLen(MaxKey) || len(whole.Algorithms()) > MaxAlgorithms {
			t.Fatalf("%q %q", whole.Line(), whole.Algorithms())
		}
		// In one piece more is seen before the limit of all binds.
		if len(sent) < maxBytes && (whole.Line() != pieces.Line() || whole.Hidden() != pieces.Hidden() || whole.Done() != pieces.Done()) {
			t.Fatalf("in pieces of %d: %q, whole %q", size, pieces.Line(), whole.Line())
		}
	})
}

func BenchmarkReader(b *testing.B) {
	sent, err := os.ReadFile("testdata/certificate-curve25519")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		var r Reader
		r.Write(sent[:40])
		r.Write(sent[40:1200])
		r.Write(sent[1200:])
		if !r.Done() {
			b.Fatal("no key")
		}
	}
}
