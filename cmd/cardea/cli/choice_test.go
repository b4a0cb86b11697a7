package cli

import (
	"strings"
	"testing"
)

// What cannot be right is refused before anybody is asked, with code 2 and what
// would be right.
func TestWrongValuesAreToldWithTheRightOnes(t *testing.T) {
	for _, tc := range []struct{ line, says string }{
		{"admin tokens create --kind router", "give server, gateway or device; type: cardea admin tokens create --help"},
		{"admin tokens create --life 1w", `--life is "1w"; give a duration such as 90s, 8h or 30d; type: `},
		{"admin tokens create --life 1.5s", "no number of whole seconds; give a duration such as 90s or 24h"},
		{"admin tokens create", "--project must be given; type: cardea admin tokens create --project PROJECT\n"},
		{"admin tokens create -q --kind gateway --name gw-1", "--address must be given; type: cardea admin tokens create --kind gateway --name gw-1 --quiet --address HOST:PORT\n"},
		{"admin tokens create --kind server --label env", "env must be formatted as key=value"},
		{"admin tokens create --uses many", `--uses is "many"; give a whole number; type: `},
		{"admin grants create web ops --role boss", "give user or admin; type: cardea admin grants create --help"},
		{"admin grants create web ops --until never", "no time such as 8h"},
		{"admin groups members add ops bob --until -1h", "no time such as 8h"},
		{"admin projects create web --gateway maybe", "give allowed, none or required; type: cardea admin projects create --help"},
		{"admin projects update web --gateway Required", "give allowed, none or required"},
		{"admin projects update web --certificate-life 3", `--certificate-life is "3"; give a duration such as 90s, 8h or 30d; `},
		{"admin projects update web --port-forwarding=perhaps", `--port-forwarding is "perhaps"; give true or false; `},
		{"ls -o xml", "give table or json"},
		{"ls -l =", "for example: cardea ls -l env=prod"},
		{"why web-1 --login Root", "is no login name"},
		{"ssh web-1;id", "is no server name"},
		{"ssh root@web-1", "nobody enters a server as root through Cardea; to enter it as yourself type: cardea ssh web-1\n"},
		{"ssh -l root web-1 id", "to enter it as yourself type: cardea ssh web-1\n"},
		{"proxycommand web-1 22 root", "nobody enters a server as root through Cardea; to enter it as yourself type: cardea ssh web-1\n"},
		{"ssh -p 22 web-1", "-p is an option of ssh, and goes behind the server; type: cardea ssh SERVER -p …\n"},
		{"ssh -tX web-1", "-X is an option of ssh, and goes behind the server; type: cardea ssh SERVER -X …\n"},
		{"ssh -oBatchMode=yes web-1", "-o is an option of ssh, and goes behind the server; type: cardea ssh SERVER -o …\n"},
		{"ssh -o xml web-1", "give table or json; type: cardea ssh --help\n"},
		{"ssh web-1 -v -o", "-o of ssh lacks its value; type: cardea ssh SERVER -o …\n"},
		{"ssh web-1 -tl", "-l of ssh lacks its value; type: cardea ssh SERVER -l …\n"},
		{"ssh -z web-1", "unknown shorthand flag: 'z' in -z; type: cardea ssh --help\n"},
		{"ls web db", "\"db\" is one word too many; type: cardea ls [WORD]\n"},
		{"why web-1 a b", "\"a\" is one word too many; type: cardea why SERVER\n"},
		{"completion tcsh", "\"tcsh\" is not a verb of cardea completion; type: cardea completion --help\n"},
		{"completion bash zsh", "\"zsh\" is one word too many; type: cardea completion bash\n"},
		{"scp", "an argument is missing; type: cardea scp [scp options] SOURCE... TARGET\n"},
		{"sftp", "an argument is missing; type: cardea sftp [sftp options] SERVER[:PATH]\n"},
		{"status --url ftp://access.example.com", "is not the URL of a control plane"},
		{"status --no-keyring=perhaps", "give true or false"},
		{"status --config /nonexistent", "/nonexistent"},
	} {
		t.Run(tc.line, func(t *testing.T) {
			a, stdout, stderr := testApp(t)
			code := a.run(t.Context(), strings.Fields(tc.line))
			if code != ExitUsage || !strings.Contains(stderr.String(), tc.says) || strings.Count(stderr.String(), "\n") != 1 || stdout.Len() != 0 {
				t.Errorf("code %d, stderr %q, stdout %q; want %q", code, stderr, stdout, tc.says)
			}
		})
	}
}

func TestTheHelpSaysHowLabelsAreGiven(t *testing.T) {
	for _, line := range []string{"admin tokens create", "admin servers update", "admin gateways update", "admin enrolment-rules create"} {
		a, stdout, stderr := testApp(t)
		if code := a.run(t.Context(), strings.Fields(line+" --help")); code != 0 || !strings.Contains(stdout.String(), "--label key=value") || strings.Contains(stdout.String(), "[]") {
			t.Errorf("%s: code %d, stderr %q, stdout %s", line, code, stderr, stdout)
		}
	}
}
