package cli

// Keys that are no characters: arrows to the left and right, and Home.
const (
	keyBack byte = 0x80 + iota // no byte that a key of its own sends
	keyOn
	keyBegin
)

// keyCode makes one byte of what a key sends. Other keys that send more than one, Esc among
// them, are none. The codes are those of xterm's ctlseqs.
type keyCode struct {
	code  []byte
	begun bool // ESC was read
}

// maxKeyCode bounds what is kept of a code, in bytes.
const maxKeyCode = 16

// take takes a byte; whole is true where it ends a key.
func (k *keyCode) take(c byte) (key byte, whole bool) {
	switch {
	case c == 0x1b:
		k.begun, k.code = true, k.code[:0]
		return 0, false
	case !k.begun:
		return c, c < 0x80
	case len(k.code) == 0 && c != '[' && c != 'O':
		k.begun = false // Esc, and then a key, or Alt with it
		return c, c == 3
	}
	if k.code = append(k.code, c); len(k.code) == 1 || c < 0x40 && len(k.code) < maxKeyCode {
		return 0, false
	}
	k.begun = false
	switch string(k.code[1:]) {
	case "D":
		return keyBack, true
	case "C":
		return keyOn, true
	case "H", "1~", "7~":
		return keyBegin, true
	}
	return 0, false
}
