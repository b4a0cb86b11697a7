package web

import (
	"fmt"
	"strings"

	"rsc.io/qr"
)

// QRCode is one as a path of SVG, a square of Size modules with its quiet zone.
type QRCode struct {
	Size int
	Path string
}

// quietZone is how many light modules stand around a QR code (ISO/IEC 18004).
const quietZone = 4

// qrPath draws a text as a QR code: inline, because the page may load no picture but ours.
func qrPath(text string) (QRCode, error) {
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return QRCode{}, fmt.Errorf("draw a QR code: %w", err)
	}
	var b strings.Builder
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			if !code.Black(x, y) {
				continue
			}
			from := x
			for x+1 < code.Size && code.Black(x+1, y) {
				x++
			}
			fmt.Fprintf(&b, "M%d %dh%dv1h-%dz", from+quietZone, y+quietZone, x-from+1, x-from+1)
		}
	}
	return QRCode{code.Size + 2*quietZone, b.String()}, nil
}
