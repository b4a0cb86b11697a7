package gateway

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestADiskThatChangesABitIsNoticed: with any one bit of a file of the state folder changed, the
// gateway starts as what it was, or says which file is damaged. It never signs with a key that
// is not the one it tells, and never makes up another identity.
func TestADiskThatChangesABitIsNoticed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keys, err := loadRecordKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	acknowledged(t, &Recorders{keys: keys})
	seed, err := keys.signing()
	if err != nil {
		t.Fatal(err)
	}
	host, err := loadHostKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	credential := []byte(`{"url":"https://a.example","gateway":"gw_a","name":"gw-1","token":"cardea_tok_x"}`)
	if err := os.WriteFile(filepath.Join(dir, credentialFile), credential, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, same := range map[string]func() (bool, error){
		recordKeysFile: func() (bool, error) {
			k, err := loadRecordKeys(dir)
			if err != nil {
				return false, err
			}
			got, err := k.signing()
			// Without the time of its acknowledgement it is told and acknowledged once more.
			return err != nil && k.wants() && k.keys[0].private().Equal(seed) || err == nil && got.Equal(seed), nil
		},
		hostKeyFile: func() (bool, error) {
			k, err := loadHostKey(dir)
			return err == nil && bytes.Equal(k.PublicKey().Marshal(), host.PublicKey().Marshal()), err
		},
		credentialFile: func() (bool, error) {
			c, err := Enrolment{StateDir: dir}.read()
			// Another token or another identity.pem the control plane refuses: each is good with the other alone.
			return err == nil && c.Gateway != "" && c.Token != "", err
		},
	} {
		path := filepath.Join(dir, name)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		refused := 0
		for bit := range 8 * len(text) {
			flipped := bytes.Clone(text)
			flipped[bit/8] ^= 1 << (bit % 8)
			if err := os.WriteFile(path, flipped, 0o600); err != nil {
				t.Fatal(err)
			}
			ok, err := same()
			if err != nil {
				refused++
				if !strings.Contains(err.Error(), name) {
					t.Errorf("%s, bit %d: it does not say which file: %v", name, bit, err)
				}
			} else if !ok {
				t.Errorf("%s, bit %d: it is taken for something else", name, bit)
			}
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, flipped) {
				t.Fatalf("%s, bit %d: it was written anew", name, bit)
			}
		}
		if refused == 0 {
			t.Errorf("%s: no change was noticed", name)
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if ok, err := same(); err != nil || !ok {
			t.Errorf("%s as it was: %v", name, err)
		}
		t.Logf("%s: %d of %d bits are refused", name, refused, 8*len(text))
	}
}

func TestAnOlderFileOfRecordingKeysIsRead(t *testing.T) {
	dir := t.TempDir()
	old := `[{"seed":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","made":"2026-11-20T09:00:00Z","acked":"2026-11-20T09:00:01Z"}]`
	if err := os.WriteFile(filepath.Join(dir, recordKeysFile), []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	k, err := loadRecordKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	before, err := k.signing()
	if err != nil {
		t.Fatal(err)
	}
	if err := k.renew(time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, recordKeysFile))
	if err != nil || strings.Count(string(text), `"id"`) != 2 {
		t.Errorf("%s, %v", text, err)
	}
	if after, err := k.signing(); err != nil || !after.Equal(before) {
		t.Errorf("another key signs: %v", err)
	}
}
