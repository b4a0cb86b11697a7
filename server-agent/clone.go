package serveragent

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/cardea-ssh/cardea/internal/atomicfile"
	"github.com/cardea-ssh/cardea/server-agent/metadata"
)

const (
	// hostFile says on which machine the credential was made.
	hostFile = "host.json"
	// machineIDFile is machine-id(5).
	machineIDFile = "/etc/machine-id"
	// machineChars are those of the hash that is used in place of the id, which is
	// nobody else's business.
	machineChars = 32
	// instanceLimit bounds the question to the cloud which instance this is.
	instanceLimit = 5 * time.Second
)

// ErrCloned: the credential was made on another machine than this one.
var ErrCloned = errors.New("this host was cloned")

// hostRecord is what a machine is known by. What is empty was not known.
type hostRecord struct {
	Machine  string         `json:"machine,omitempty"`
	Cloud    metadata.Cloud `json:"cloud,omitempty"`
	Instance string         `json:"instance,omitempty"`
}

// machineID is a hash of the machine's id for this program alone, as machine-id(5)
// asks for; "" if there is none. An id that the system has yet to make is none.
func machineID(path string) string {
	raw, err := readSmall(cmp.Or(path, machineIDFile), maxSmallFile)
	raw = bytes.TrimSpace(raw)
	if err != nil || len(raw) != 32 || len(bytes.Trim(raw, "0123456789abcdef")) > 0 {
		return ""
	}
	mac := hmac.New(sha256.New, raw)
	mac.Write([]byte("cardea server agent machine v1"))
	return hex.EncodeToString(mac.Sum(nil))[:machineChars]
}

// thisHost is what can be known of the machine now. Where the cloud does not
// answer its part is empty.
func (a *Agent) thisHost(ctx context.Context, cloud metadata.Cloud) hostRecord {
	h := hostRecord{Machine: machineID(a.opt.machineFile)}
	if cloud == "" {
		return h
	}
	ctx, cancel := context.WithTimeout(ctx, instanceLimit)
	defer cancel()
	id, err := a.metadata(cloud).Instance(ctx)
	if err != nil {
		a.log.Debug("the cloud does not say which instance this is", "err", err)
		return h
	}
	h.Cloud, h.Instance = cloud, id
	return h
}

func (a *Agent) metadata(cloud metadata.Cloud) *metadata.Client {
	return &metadata.Client{Cloud: cloud, Base: a.opt.metadataBase}
}

// keepHost remembers the machine of a new credential.
func (a *Agent) keepHost(ctx context.Context) error {
	cloud := a.cloud
	if cloud == "" {
		cloud, _ = metadata.Find(ctx)
	}
	return writeJSON(a.path(hostFile), a.thisHost(ctx, cloud))
}

// sameHost is nil on the machine on which the credential was made. An enrolment
// of before there was such a record is taken to be of this machine.
func (a *Agent) sameHost(ctx context.Context) error {
	raw, err := readSmall(a.path(hostFile), maxSmallFile)
	if errors.Is(err, fs.ErrNotExist) {
		return a.keepHost(ctx)
	}
	var then hostRecord
	if err == nil {
		err = decodeOne(raw, &then)
	}
	if err != nil {
		a.log.Warn("the record of this machine cannot be read, and is made anew", "err", err)
		return a.keepHost(ctx)
	}
	now := a.thisHost(ctx, then.Cloud)
	what := ""
	switch {
	case then.Instance != "" && now.Instance != "" && then.Instance != now.Instance:
		what = fmt.Sprintf("it is instance %s and not %s", now.Instance, then.Instance)
	case then.Machine != "" && now.Machine != "" && then.Machine != now.Machine:
		what = "its " + machineIDFile + " is another"
	default:
		return nil
	}
	return fmt.Errorf("%w from %s: %s; to make it a server of its own type: cardea-server-agent enroll --anew, or if it is the very machine: cardea-server-agent enroll --same-host",
		ErrCloned, a.cred.Name, what)
}

// canEnrol reports whether there is something to enrol with.
func (a *Agent) canEnrol() bool {
	_, err := os.Lstat(a.opt.TokenFile)
	return err == nil || a.opt.Cloud != ""
}

// Anew forgets the credential, and all that belongs to the server that it is of,
// so that this host can enrol as another one. What it knows of accounts stays.
func (a *Agent) Anew() error {
	lock, err := a.lock()
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := a.loadCredential(); err != nil {
		a.log.Debug("the credential that is dropped cannot be used", "err", err)
	}
	return a.dropIdentity()
}

func (a *Agent) dropIdentity() error {
	a.anew, a.opt.ControlURL = true, a.controlURL()
	var errs []error
	// The credential is the last: while it is there this can be done again.
	for _, name := range []string{stateFile, beatFile, queueFile, confirmFile, hostFile, identityFile, credentialFile} {
		if _, err := atomicfile.Remove(a.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// SameHost takes this machine for the one on which the credential was made. The
// control plane is not persuaded by that: an administrator has to release it.
func (a *Agent) SameHost(ctx context.Context) error {
	if err := a.loadCredential(); err != nil {
		return err
	}
	if _, err := atomicfile.Remove(a.path(hostFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return a.keepHost(ctx)
}
