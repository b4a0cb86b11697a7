package directory

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"filippo.io/age"
	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

const (
	// maxRecipients keeps the header of each segment small: it is wrapped to each.
	maxRecipients = 16
	// maxRecipient is more than a recipient of age with a post-quantum key has, in
	// bytes: 1,959.
	maxRecipient = 2048
)

func recordRules(in api.RecordSettings) store.RecordRules {
	return store.RecordRules{
		Recording: cmp.Or(in.Recording, store.RecordingOff), Recipients: in.Recipients, RecordInput: in.RecordInput, X11Forwarding: in.X11Forwarding,
	}
}

// checkRecord looks at a project as it will be: a recording that nobody makes, or that
// nobody can read, is worse than none, since somebody relies on it.
func checkRecord(gateway string, r store.RecordRules) error {
	if !slices.Contains([]string{"", store.RecordingOff, store.RecordingBestEffort, store.RecordingRequired}, r.Recording) {
		return fmt.Errorf("recording is %s, %s or %s", store.RecordingOff, store.RecordingBestEffort, store.RecordingRequired)
	}
	if err := checkRecipients(r.Recipients); err != nil {
		return err
	}
	switch {
	case !r.Records():
		return nil
	case gateway != store.GatewayRequired:
		return api.Errorf(api.Invalid, "sessions are recorded by gateways, so recording needs gateway %s", store.GatewayRequired).
			WithHint("add --gateway %s, or --recording %s", store.GatewayRequired, store.RecordingOff)
	case len(r.Recipients) == 0:
		return api.Errorf(api.Invalid, "recordings need somebody who can read them, and there is no recipient").
			WithHint("make a key with `age-keygen -o auditor.key`, keep it safe, and add --recording-recipient age1…")
	}
	return nil
}

// checkRecipients has age read them, and encrypt to all of them: some kinds cannot be
// mixed.
func checkRecipients(lines []string) error {
	if len(lines) > maxRecipients {
		return fmt.Errorf("%d recipients of recordings, at most %d are possible", len(lines), maxRecipients)
	}
	var all []age.Recipient
	for i, line := range lines {
		one, err := parseRecipient(line)
		if err != nil {
			return err
		}
		if slices.Contains(lines[:i], line) {
			return fmt.Errorf("recipient %.20s… is there twice", line)
		}
		all = append(all, one)
	}
	if len(all) == 0 {
		return nil
	}
	if _, err := age.Encrypt(io.Discard, all...); err != nil {
		return errors.New("these recipients cannot be used together: all or none have a post-quantum key (age1pq1…)")
	}
	return nil
}

func parseRecipient(line string) (age.Recipient, error) {
	if strings.HasPrefix(strings.ToUpper(line), "AGE-SECRET-KEY-") {
		return nil, errors.New("that is a secret key of age, which belongs to nobody else: give its recipient, which `age-keygen -y` prints, and make a new key") // never repeated
	}
	bad := fmt.Errorf("%q is no recipient of age: it begins with age1, and `age-keygen` prints it", ident.Text(line[:min(len(line), 20)]))
	if len(line) > maxRecipient || strings.ContainsAny(line, "\r\n\t #") {
		return nil, bad
	}
	found, err := age.ParseRecipients(strings.NewReader(line))
	if err != nil || len(found) != 1 {
		return nil, bad
	}
	return found[0], nil
}

// recordChange is what a patch changes, after a look at the whole of it.
func recordChange(old store.Project, in api.ProjectPatch) (store.RecordRulesChange, error) {
	next, gateway := old.RecordRules, old.Gateway
	if in.Gateway != nil {
		gateway = *in.Gateway
	}
	if in.Recording != nil {
		next.Recording = *in.Recording
	}
	if in.Recipients != nil {
		next.Recipients = *in.Recipients
	}
	c := store.RecordRulesChange{Recording: in.Recording, Recipients: in.Recipients, RecordInput: in.RecordInput, X11Forwarding: in.X11Forwarding}
	return c, checkRecord(gateway, next)
}

func recordSettings(r store.RecordRules) api.RecordSettings {
	return api.RecordSettings{
		Recording: cmp.Or(r.Recording, store.RecordingOff), Recipients: r.Recipients, RecordInput: r.RecordInput, X11Forwarding: r.X11Forwarding,
	}
}

// tellRecord adds what a patch changes to the detail of an audit event.
func tellRecord(d map[string]string, in api.RecordPatch) {
	if in.Recording != nil {
		d["recording"] = *in.Recording
	}
	if in.Recipients != nil {
		d["recording_recipients"] = strings.Join(*in.Recipients, ",")
	}
	for name, v := range map[string]*bool{"recording_input": in.RecordInput, "x11_forwarding": in.X11Forwarding} {
		if v != nil {
			d[name] = strconv.FormatBool(*v)
		}
	}
}
