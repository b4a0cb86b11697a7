package cli

import (
	"strings"
	"testing"

	"rsc.io/qr"
)

func TestAQRCodeInBlocksIsTheCode(t *testing.T) {
	const text = "https://access.example.com/device"
	drawn, err := qrBlocks(text)
	if err != nil {
		t.Fatal(err)
	}
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(drawn, "\n"), "\n")
	for i, line := range lines {
		inner, ok := strings.CutPrefix(line, qrOn)
		inner, ok2 := strings.CutSuffix(inner, qrOff)
		if !ok || !ok2 {
			t.Fatalf("line %d leaves the terminal in other colours: %q", i, line)
		}
		cells := []rune(inner)
		if len(cells) != code.Size+2*quietZone {
			t.Fatalf("line %d has %d modules", i, len(cells))
		}
		for x, r := range cells {
			for half, dark := range map[int]bool{0: r == '▄' || r == ' ', 1: r == '▀' || r == ' '} {
				y := 2*i + half - quietZone
				if y >= code.Size+quietZone {
					continue // there is one row less than half blocks
				}
				if want := code.Black(x-quietZone, y); dark != want {
					t.Fatalf("module %d, %d is dark: %v, want %v", x-quietZone, y, dark, want)
				}
			}
		}
	}
	if len(lines) != (code.Size+2*quietZone+1)/2 {
		t.Errorf("%d lines", len(lines))
	}
	if _, err := qrBlocks(strings.Repeat("x", 5000)); err == nil {
		t.Error("a text that no code holds was drawn")
	}
}
