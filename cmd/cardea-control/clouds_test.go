package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFilesOfCertificates(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, tc := range map[string]struct {
		o    options
		says string
	}{
		"none":                     {options{}, ""},
		"comments alone":           {options{AWSCertificates: file("a", "# none yet\n")}, ""},
		"a file that is not there": {options{AWSCertificates: dir + "/none"}, "aws-certificates"},
		"an empty file":            {options{AzureRoots: file("b", "")}, "is empty"},
		"no certificate":           {options{AzureRoots: file("c", "hello")}, "no certificate"},
		"no region":                {options{AWSCertificates: file("d", "hello world")}, "not the name of a region"},
		"as large as may be":       {options{AWSCertificates: file("e", "#"+strings.Repeat("x", maxCertificates-1))}, ""},
		"a byte too many":          {options{AWSCertificates: file("f", "#"+strings.Repeat("x", maxCertificates))}, "larger than"},
	} {
		_, err := tc.o.clouds()
		if (err == nil) != (tc.says == "") || err != nil && !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
