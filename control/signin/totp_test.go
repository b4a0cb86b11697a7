package signin

import (
	"net/url"
	"strings"
	"testing"
	"time"
)

// The values of RFC 6238 appendix B for SHA-1, of which the last six digits count here.
func TestCodesAreThoseOfTheStandard(t *testing.T) {
	secret := []byte("12345678901234567890")
	for unix, want := range map[int64]string{
		59: "287082", 1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 2000000000: "279037", 20000000000: "353130",
	} {
		if got := totpCode(secret, unix/30); got != want {
			t.Errorf("at %d: %s, want %s", unix, got, want)
		}
	}
}

func TestACodeIsGoodAStepAroundItsTimeAndOnce(t *testing.T) {
	secret := []byte("12345678901234567890")
	at := time.Unix(1_800_000_000, 0) // the beginning of a step
	step := at.Unix() / 30
	code := totpCode(secret, step)
	for after, want := range map[time.Duration]bool{
		-31 * time.Second: false, -30 * time.Second: true, 0: true, 59 * time.Second: true, 60 * time.Second: false,
	} {
		if got, ok := totpMatch(secret, code, at.Add(after), 0); ok != want || ok && got != step {
			t.Errorf("%s after its time: %v", after, ok)
		}
	}
	if _, ok := totpMatch(secret, code, at, step); ok {
		t.Error("it is taken twice")
	}
	if _, ok := totpMatch(secret, totpCode(secret, step-1), at, step); ok {
		t.Error("one before the one that was used is taken")
	}
	for _, bad := range []string{"", code[:5], code + "0", " " + code, strings.Repeat("0", 1000)} {
		if _, ok := totpMatch(secret, bad, at, 0); ok {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestTheAddressOfASecretIsReadBack(t *testing.T) {
	u, err := url.Parse(totpURI([]byte("12345678901234567890"), "a team: 1/2?", "alice & bob"))
	if err != nil || u.Scheme != "otpauth" || u.Host != "totp" || u.Path != "/a team: 1/2?:alice & bob" || strings.Contains(u.RawQuery, "+") {
		t.Fatalf("%v %v", u, err)
	}
	if q := u.Query(); q.Get("secret") != "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ" || q.Get("issuer") != "a team: 1/2?" {
		t.Errorf("%v", q)
	}
	if got := totpText([]byte("12345678901234567890")); got != "gezd gnbv gy3t qojq gezd gnbv gy3t qojq" {
		t.Error(got)
	}
}

func TestARecoveryCodeIsReadHoweverItIsTyped(t *testing.T) {
	code := newRecoveryCode()
	if len(code) != 19 || code == newRecoveryCode() {
		t.Fatal(code)
	}
	for _, typed := range []string{strings.ToUpper(code), strings.ReplaceAll(code, "-", ""), " " + strings.ReplaceAll(code, "-", " ")} {
		if string(recoveryHash(typed)) != string(recoveryHash(code)) {
			t.Errorf("%q is another than %q", typed, code)
		}
	}
}
