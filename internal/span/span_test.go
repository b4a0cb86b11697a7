package span

import (
	"testing"
	"time"

	"github.com/spf13/pflag"
)

func TestWhatPeopleWrite(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "90s": 90 * time.Second, "1h30m": 90 * time.Minute, "1.5h": 90 * time.Minute, "-8h": -8 * time.Hour,
		"90d": 2160 * time.Hour, "1d12h": 36 * time.Hour, "0d": 0, "65535d": 65535 * 24 * time.Hour,
	} {
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("%q is read as %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "90", "d", "1w", "soon", "-1d", "1d-1h", "1d+1h", "1dd", "1.5d", "65536d", "1h1d", "65535d2562047h", "1d ", "∞d"} {
		if got, err := Parse(text); err == nil {
			t.Errorf("%q is read as %s", text, got)
		}
	}
}

// What is shown can be typed, and is the same everywhere.
func TestWhatPeopleAreShown(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 90 * time.Second: "1m30s", 3 * time.Minute: "3m", 30 * time.Minute: "30m", time.Hour: "1h", 90 * time.Minute: "1h30m", 12 * time.Hour: "12h",
		24 * time.Hour: "24h", 36 * time.Hour: "36h", 48 * time.Hour: "2d", 2160 * time.Hour: "90d", 49 * time.Hour: "49h", time.Hour + time.Second: "1h0m1s", 10 * time.Second: "10s", 20 * time.Minute: "20m",
	} {
		if got := Text(d); got != want {
			t.Errorf("%s is shown as %q, want %q", d, got, want)
		}
		if back, err := Parse(Text(d)); err != nil || back != d {
			t.Errorf("%q is read as %s, %v", Text(d), back, err)
		}
	}
}

func TestAFlagTakesDays(t *testing.T) {
	var life time.Duration
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	Var(f, &life, "life", time.Hour, "how long")
	if life != time.Hour || f.Lookup("life").DefValue != "1h" {
		t.Errorf("the default is %s, shown as %q", life, f.Lookup("life").DefValue)
	}
	if err := f.Parse([]string{"--life", "30d"}); err != nil || life != 720*time.Hour {
		t.Errorf("30d is %s, %v", life, err)
	}
	if err := f.Parse([]string{"--life", "a month"}); err == nil {
		t.Error("a month was taken")
	}
}
