package sshd

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cardea-ssh/cardea/internal/atomicfile"
	"github.com/cardea-ssh/cardea/internal/ident"
	"golang.org/x/crypto/ssh"
)

// maxRevoked bounds the revoked keys and the revoked serials, each: sshd reads the
// list anew for each login.
const maxRevoked = 32 << 10

// Revoke writes the list of what sshd must refuse of managed accounts. sshd reads
// it at each login, so it needs no reload; and where it cannot read it, it refuses
// all of them. So a new list takes the place of the old one only after ssh-keygen
// has read it and says of what must be revoked that it is, and of what must not
// that it is not. It is asked of a sample: the markers, the first of the serials,
// and the CAs that sshd is to trust.
func (m *Manager) Revoke(ctx context.Context, want Want) error {
	c, err := want.check()
	if err != nil {
		return err
	}
	keys, serials, err := want.revocations()
	if err != nil {
		return err
	}
	if err := makeDir(Dir); err != nil {
		return err
	}
	// The folder is ours alone: whatever else has that name goes.
	if info, err := os.Lstat(RevokedFile); err == nil && !info.Mode().IsRegular() {
		if err := os.RemoveAll(RevokedFile); err != nil {
			return err
		}
	}
	m.stage("revoke")
	_, err = atomicfile.Write(RevokedFile, krl(keys, serials), atomicfile.Options{
		Mode: 0o644, Owner: &atomicfile.Owner{},
		Check: func(temp string) error {
			m.stage("check the revocations")
			if err := m.checkKRL(ctx, temp, c, serials); err != nil {
				return err
			}
			m.stage("swap the revocations")
			return nil
		},
	})
	return err
}

// revocations trusts no field of the control plane's.
func (w Want) revocations() (keys [][32]byte, serials []uint64, err error) {
	if n := max(len(w.RevokedKeys), len(w.RevokedSerials)); n > maxRevoked {
		return nil, nil, fmt.Errorf("%d revocations are more than %d", n, maxRevoked)
	}
	for _, f := range w.RevokedKeys {
		sum, ok := ident.Fingerprint(f)
		if !ok {
			return nil, nil, fmt.Errorf("%q is no fingerprint of a key", f[:min(len(f), 64)])
		}
		keys = append(keys, sum)
	}
	for _, s := range w.RevokedSerials {
		n, err := strconv.ParseUint(s, 10, 63)
		if err != nil || n == 0 {
			return nil, nil, fmt.Errorf("%q is no serial of a certificate", s[:min(len(s), 64)])
		}
		serials = append(serials, n)
	}
	return keys, serials, nil
}

// sample is a key or certificate of which it is known whether it is revoked.
type sample struct {
	name    string
	line    []byte
	revoked bool
}

// checkKRL asks ssh-keygen, which reads the list with the same code as sshd.
func (m *Manager) checkKRL(ctx context.Context, file string, c checked, serials []uint64) error {
	samples, err := samplesOf(c, serials)
	if err != nil {
		return err
	}
	dir := filepath.Join(m.State, "revoked-check") // a fixed name: a killed run leaves one at most
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	argv := []string{keygen, "-Q", "-f", file}
	for i, s := range samples {
		path := filepath.Join(dir, strconv.Itoa(i)+".pub")
		if err := os.WriteFile(path, s.line, 0o600); err != nil {
			return err
		}
		argv = append(argv, path)
	}
	out, err := m.run(ctx, argv...)
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != len(samples) { // exit code 1 alone means that one is revoked
		return fmt.Errorf("ssh-keygen does not read it: %w", cmpErr(err))
	}
	for i, s := range samples {
		says, known := verdict(lines[i])
		switch {
		case !known:
			return fmt.Errorf("ssh-keygen says something else of %s: %w", s.name, cmpErr(err))
		case says != s.revoked && s.revoked:
			return fmt.Errorf("%s would not be refused", s.name)
		case says != s.revoked:
			return fmt.Errorf("%s would be refused, and everybody be locked out", s.name)
		}
	}
	return nil
}

func cmpErr(err error) error {
	if err == nil {
		return errors.New("it answers nothing")
	}
	return err
}

// verdict reads a line of `ssh-keygen -Q`: "FILE (COMMENT): ok" or ": REVOKED".
func verdict(line string) (revoked, known bool) {
	switch {
	case strings.HasSuffix(line, ": REVOKED"):
		return true, true
	case strings.HasSuffix(line, ": ok"):
		return false, true
	}
	return false, false
}

func samplesOf(c checked, serials []uint64) ([]sample, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	// A CA for this check alone: sshd trusts it nowhere, and nobody sees it again.
	ca, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return nil, err
	}
	certificate := func(name string, serial uint64, revoked bool) (sample, error) {
		cert := &ssh.Certificate{Key: ca.PublicKey(), Serial: serial, CertType: ssh.UserCert, ValidPrincipals: []string{"nobody"}, ValidBefore: 1}
		err := cert.SignCert(rand.Reader, ca)
		return sample{name, ssh.MarshalAuthorizedKey(cert), revoked}, err
	}
	marker := "ssh-ed25519 " + base64.StdEncoding.EncodeToString(markerKey()) + "\n"
	out := []sample{{"the key that marks the list", []byte(marker), true}}
	refused, err := certificate("the certificate that marks the list", markerSerial, true)
	free, ferr := certificate("a certificate that is not revoked", unlisted(serials), false)
	if err := errors.Join(err, ferr); err != nil {
		return nil, err
	}
	out = append(out, refused, free)
	if len(serials) > 0 {
		first, err := certificate("a revoked certificate", serials[0], true)
		if err != nil {
			return nil, err
		}
		out = append(out, first)
	}
	for _, key := range c.userCAs {
		out = append(out, sample{"the CA of users", bytes.Clone(ssh.MarshalAuthorizedKey(key)), false})
	}
	return out, nil
}

// unlisted is a serial that is not revoked: beside one that is, where a range that
// is one too long would reach.
func unlisted(serials []uint64) uint64 {
	n := uint64(markerSerial - 1)
	if len(serials) > 0 {
		n = serials[0] + 1
	}
	for slices.Contains(serials, n) || n == markerSerial {
		n++
	}
	return n
}

// revocationsKept is nil if there is a list at all: without one sshd would let no
// managed account in.
func revocationsKept() error {
	info, err := os.Lstat(RevokedFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("there is no list of revoked keys yet")
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a file; move it away", RevokedFile)
	}
	return nil
}
