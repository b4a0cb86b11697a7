package cli

import (
	"fmt"
	"strings"

	"rsc.io/qr"
)

// quietZone is how many light modules stand around a QR code (ISO/IEC 18004).
const quietZone = 4

// What a terminal is told before and after each line: light blocks on a dark ground,
// whatever its own colours are.
const qrOn, qrOff = "\x1b[97;40m", "\x1b[0m"

// qrBlocks draws a text as a QR code in half blocks: two modules to a character, which is
// about twice as high as it is wide.
func qrBlocks(text string) (string, error) {
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return "", fmt.Errorf("draw a QR code: %w", err)
	}
	end := code.Size + quietZone
	light := func(x, y int) bool { return y < end && !code.Black(x, y) }
	var b strings.Builder
	for y := -quietZone; y < end; y += 2 {
		b.WriteString(qrOn)
		for x := -quietZone; x < end; x++ {
			switch upper, lower := light(x, y), light(x, y+1); {
			case upper && lower:
				b.WriteString("█")
			case upper:
				b.WriteString("▀")
			case lower:
				b.WriteString("▄")
			default:
				b.WriteString(" ")
			}
		}
		b.WriteString(qrOff + "\n")
	}
	return b.String(), nil
}
