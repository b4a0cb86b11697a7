package cli

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/recording"
)

type verifyOptions struct {
	ref, session, head string
	keys               []string
}

func newSessionsVerify(a *app) *cobra.Command {
	var o verifyOptions
	cmd := &cobra.Command{
		Use: "verify " + recordingArg, Short: "Check that a recording is whole and as the gateway wrote it",
		Long: "Check that a recording is whole and as the gateway wrote it: hashes, order and signatures of all segments. Nothing is\n" +
			"decrypted. Without --keys the control plane is asked for the public keys of all gateways. Ends with code 3 if it is\n" +
			"not, and with another one if that could not be found out.\n" + recordingHelp,
		Example: "  cardea sessions verify gse_abc\n  cardea sessions keys -o json > keys.json\n  cardea sessions verify gse_abc/ --keys keys.json --head 4f2a…",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.ref = args[0]
			if b, err := hex.DecodeString(o.head); o.head != "" && (err != nil || len(b) != sha256.Size) {
				return usageErrorf(cmd, "--head is no whole hash: give all %d hex digits that `cardea sessions show` has", 2*sha256.Size)
			}
			o.head = strings.ToLower(o.head)
			return a.sessionsVerify(cmd.Context(), o)
		},
	}
	cmd.Flags().StringArrayVar(&o.keys, "keys", nil, "file with public keys of gateways: the control plane's JSON, ssh-ed25519 lines, or 32 bytes in hex or base64 a line")
	cmd.MarkFlagFilename("keys")
	cmd.Flags().StringVar(&o.session, "session", "", "the session that it must be of")
	cmd.Flags().StringVar(&o.head, "head", "", "the hash that it must end with, as the control plane has it")
	return cmd
}

func (a *app) sessionsVerify(ctx context.Context, o verifyOptions) error {
	folder, err := a.openRecording(ctx, o.ref)
	if err != nil {
		return err
	}
	gateway := ""
	if s, is := folder.(*stored); is {
		// What the gateway told when it was done, which no bucket can take back.
		o.session, o.head = cmp.Or(o.session, s.info.Session), cmp.Or(o.head, s.info.Head)
		gateway = s.info.Gateway // whose session it was, whoever has told of it since
	}
	keys, err := a.recordingKeys(ctx, o.keys)
	if err != nil {
		return err
	}
	report, err := recording.Verify(folder, recording.VerifyOptions{Keys: keys, Session: o.session, Gateway: gateway, Head: o.head})
	if err != nil {
		return err
	}
	if _, is := folder.(*stored); !is && report.Segments == 0 {
		return fmt.Errorf("there is no recording in %q; give the folder that holds %s, or the id of a session that `cardea sessions ls` shows", o.ref, recording.SegmentName(1))
	}
	if report.Faults == nil {
		report.Faults = []recording.Fault{}
	}
	if err := showOne(a, report, reportColumns()); err != nil {
		return err
	}
	if a.output != asJSON && len(report.Faults) > 0 {
		if err := show(a, report.Faults, faultColumns()); err != nil {
			return err
		}
	}
	if !report.Whole() {
		return silentError{ExitUntrue}
	}
	return nil
}

func reportColumns() []column[recording.Report] {
	return []column[recording.Report]{
		{"verdict", func(r recording.Report) string {
			if r.Whole() {
				return "whole, and as the gateway wrote it"
			}
			return "NOT as a gateway wrote it, or not all of it"
		}},
		{"session", func(r recording.Report) string { return r.Session }},
		{"gateway", func(r recording.Report) string { return r.Gateway }},
		{"segments", func(r recording.Report) string { return strconv.Itoa(r.Segments) }},
		{"bytes", func(r recording.Report) string {
			return fmt.Sprintf("%d, of which %d are proven", r.Bytes, r.Proven)
		}},
		{"length", func(r recording.Report) string { return r.Length.Round(time.Second).String() }},
		{"ended", func(r recording.Report) string {
			if !r.Ended {
				return "no"
			}
			if r.Lost > 0 {
				return fmt.Sprintf("%s, and %d bytes were lost before", r.Cause, r.Lost)
			}
			return r.Cause
		}},
		{"keys", func(r recording.Report) string {
			return commas(slices.Sorted(maps.Keys(r.Keys)))
		}},
		{"head", func(r recording.Report) string { return r.Head }},
	}
}

func faultColumns() []column[recording.Fault] {
	return []column[recording.Fault]{
		{"segment", func(f recording.Fault) string {
			if f.Segment == 0 {
				return ""
			}
			return recording.SegmentName(f.Segment)
		}},
		{"byte", func(f recording.Fault) string { return strconv.FormatInt(f.Offset, 10) }},
		{"bytes", func(f recording.Fault) string { return strconv.FormatInt(f.Bytes, 10) }},
		{"readable", func(f recording.Fault) string { return yesNo(f.Readable) }},
		{"what", func(f recording.Fault) string { return f.What }},
	}
}

func newSessionsKeys(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "keys", Short: "List the public keys that recordings were ever signed with",
		Long:    "List the public keys that recordings were ever signed with, by all gateways, also by those that are gone.",
		Example: "  cardea sessions keys -o json > keys.json\n  cardea sessions verify gse_abc/ --keys keys.json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return listRows(cmd.Context(), a, "/v1/recording-keys", nil, []column[api.RecordingKey]{
				{"key", func(k api.RecordingKey) string { return k.ID }},
				{"gateway", func(k api.RecordingKey) string { return k.Gateway }},
				{"since", func(k api.RecordingKey) string { return stamp(k.Since) }},
				{"public", func(k api.RecordingKey) string { return hex.EncodeToString(k.Public) }},
			})
		},
	}
}

// recordingKeys are those in the files, or those that the control plane knows.
func (a *app) recordingKeys(ctx context.Context, files []string) (recording.Keys, error) {
	var all []api.RecordingKey
	for _, name := range files {
		found, err := readRecordingKeys(name)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	if len(files) == 0 {
		c, err := a.client(ctx)
		if err != nil {
			return nil, fmt.Errorf("%w; without the control plane give --keys FILE, which `cardea sessions keys -o json` wrote while it was there", err)
		}
		if all, err = api.All[api.RecordingKey](ctx, c, "/v1/recording-keys", nil); err != nil {
			return nil, err
		}
	}
	known := map[string]api.RecordingKey{}
	for _, k := range all {
		if len(k.Public) == ed25519.PublicKeySize {
			known[recording.KeyID(k.Public)] = k // never by what somebody says its id is
		}
	}
	return func(id string) (ed25519.PublicKey, string, bool) {
		k, ok := known[id]
		return k.Public, k.Gateway, ok
	}, nil
}

// readRecordingKeys reads a file of public keys.
func readRecordingKeys(name string) ([]api.RecordingKey, error) {
	b, err := readKeyFile(name)
	if err != nil {
		return nil, err
	}
	wrong := fmt.Errorf("%s holds no public key of a gateway; give the control plane's JSON, ssh-ed25519 lines, or hex", name)
	var keys []api.RecordingKey
	var page struct {
		Items []api.RecordingKey `json:"items"`
	}
	switch text := strings.TrimSpace(string(b)); {
	case strings.HasPrefix(text, "["):
		err = json.Unmarshal(b, &keys)
	case strings.HasPrefix(text, "{"):
		err = json.Unmarshal(b, &page)
		keys = page.Items
	default:
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			public := publicKey(line)
			if public == nil {
				return nil, wrong
			}
			keys = append(keys, api.RecordingKey{Public: public})
		}
	}
	if err != nil || len(keys) == 0 {
		return nil, wrong
	}
	return keys, nil
}

// publicKey reads one line.
func publicKey(line string) []byte {
	if k, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line)); err == nil {
		if c, ok := k.(ssh.CryptoPublicKey); ok {
			if public, ok := c.CryptoPublicKey().(ed25519.PublicKey); ok {
				return public
			}
		}
		return nil
	}
	if b, err := hex.DecodeString(line); err == nil && len(b) == ed25519.PublicKeySize {
		return b
	}
	if b, err := base64.StdEncoding.DecodeString(line); err == nil && len(b) == ed25519.PublicKeySize {
		return b
	}
	return nil
}
