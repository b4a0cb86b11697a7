package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/bucket"
	"github.com/cardea-ssh/cardea/internal/daemon"
)

const (
	configFile = "/etc/cardea/control.yaml"
	stateDir   = "/var/lib/cardea-control"
)

// options are the manual of the configuration file: each is also a flag and a
// variable CARDEA_…
type options struct {
	given string // those of the command line, as they are typed: every line to type next has them
	// Database is the path of an SQLite file, or a postgres:// URL for more than
	// one instance.
	Database string `name:"database" help:"path of an SQLite file, or a postgres:// URL"`
	// KeyFile is what the keys in the database are encrypted under. Whoever has
	// both has everything; whoever loses it has lost every key. Back it up, and
	// not beside the database.
	KeyFile string `name:"key-file" help:"file with the key that encrypts the keys in the database"`
	// Listen is where this instance serves.
	Listen string `name:"listen" help:"address to listen on"`
	// PublicURL is where clients reach the team's control plane. Their proofs are
	// made for it, so it must be exactly what they are told.
	PublicURL string `name:"public-url" help:"https URL at which clients reach this (default http://LISTEN on loopback)"`
	// TLSCert and TLSKey are PEM files, read again when they change. Without them
	// it serves plain HTTP, which is allowed on loopback, or behind a proxy.
	TLSCert string `name:"tls-cert" help:"PEM file with the certificate chain"`
	TLSKey  string `name:"tls-key" help:"PEM file with its private key"`
	// BehindTLSProxy says that something in front of it does TLS.
	BehindTLSProxy bool `name:"behind-tls-proxy" help:"serve plain HTTP although it is not on loopback: a proxy in front does TLS"`
	// TrustedProxies are addresses or prefixes from which X-Forwarded-For is believed.
	TrustedProxies []string `name:"trusted-proxies" help:"addresses or prefixes of proxies whose X-Forwarded-For is believed"`
	// Instance names this process in the audit log; each instance needs its own.
	Instance string `name:"instance" help:"name of this instance in the audit log (default the host's name)"`
	// SessionLife is how long a sign-in lasts, 1h to 25h.
	SessionLife time.Duration `name:"session-life" help:"how long a sign-in lasts, 1h to 25h"`
	// Recordings is where gateways store recordings, so that administrators can fetch
	// them from here. Nobody can read them without a recipient's key.
	Recordings string `name:"recordings" help:"URL of the folder or bucket in which gateways store recordings, for example s3://bucket or file:///srv/recordings"`
	// AWSCertificates is for regions of AWS that are newer than this program: a line
	// with the region's name and its RSA-2048 certificate, again and again. AzureRoots
	// is for machines whose system has not the roots of Microsoft's certificates.
	AWSCertificates string `name:"aws-certificates" help:"file with certificates of further AWS regions, by which instances enrol"`
	AzureRoots      string `name:"azure-roots" help:"PEM file with the roots of Azure's metadata certificates (default the system's)"`
	daemon.LogOptions

	proxies []netip.Prefix
}

func defaults() options {
	return options{
		Database: filepath.Join(stateDir, "cardea.db"), KeyFile: filepath.Join(stateDir, "kek"),
		Listen: "127.0.0.1:7080", SessionLife: 12 * time.Hour,
	}
}

// complete checks what can be checked without touching anything, and fills in
// what depends on the machine.
func (o *options) complete() error {
	if o.Database == "" || o.KeyFile == "" {
		return errors.New("database and key-file cannot be empty")
	}
	if err := o.checkDatabase(); err != nil {
		return err
	}
	for _, path := range []*string{&o.Database, &o.KeyFile} {
		if path == &o.Database && !o.sqlite() {
			continue
		}
		abs, err := filepath.Abs(strings.TrimPrefix(*path, "file:"))
		if err != nil {
			return err
		}
		*path = abs
	}
	if o.SessionLife < time.Hour || o.SessionLife > 25*time.Hour {
		return fmt.Errorf("session-life is %s; give 1h to 25h", o.SessionLife)
	}
	if o.Instance == "" {
		o.Instance = "control"
		if host, err := os.Hostname(); err == nil && host != "" {
			o.Instance, _, _ = strings.Cut(host, ".")
		}
	}
	for _, p := range o.TrustedProxies {
		prefix, err := netip.ParsePrefix(p)
		if ip, ipErr := netip.ParseAddr(p); ipErr == nil {
			prefix, err = netip.PrefixFrom(ip.Unmap(), ip.Unmap().BitLen()), nil
		}
		if err != nil {
			return fmt.Errorf("trusted-proxies: %q is neither an address nor a prefix", p)
		}
		o.proxies = append(o.proxies, prefix)
	}
	if o.Recordings != "" {
		if err := bucket.Check(o.Recordings); err != nil {
			return fmt.Errorf("recordings: %w", err)
		}
	}
	return o.checkListen()
}

func (o *options) sqlite() bool {
	return !strings.HasPrefix(o.Database, "postgres://") && !strings.HasPrefix(o.Database, "postgresql://")
}

// checkDatabase refuses a URL of another kind, which would be made into a file of
// that name, and one that cannot be dialled whatever the network does.
func (o *options) checkDatabase() error {
	if o.sqlite() {
		if scheme, _, is := strings.Cut(o.Database, "://"); is && scheme != "file" {
			return fmt.Errorf("database is a URL of %q; give the path of an SQLite file or a postgres:// URL", scheme)
		}
		return nil
	}
	if _, err := pgx.ParseConfig(o.Database); err != nil { // its text holds no password
		return fmt.Errorf("database: %w; write it as postgres://cardea@db.example.com/cardea", err)
	}
	return nil
}

func (o *options) checkListen() error {
	host, port, err := net.SplitHostPort(o.Listen)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		return fmt.Errorf("listen %q is no address; write it as 127.0.0.1:7080", o.Listen)
	}
	if (o.TLSCert == "") != (o.TLSKey == "") {
		return errors.New("tls-cert and tls-key belong together; give both or none")
	}
	ip := net.ParseIP(host)
	loopback := host == "localhost" || ip != nil && ip.IsLoopback()
	switch {
	case o.TLSCert != "" && o.BehindTLSProxy:
		return errors.New("tls-cert and behind-tls-proxy exclude each other; give one of them")
	case o.TLSCert == "" && !o.BehindTLSProxy && !loopback:
		return fmt.Errorf("listen %s is open to others and there is no TLS; give tls-cert and tls-key, or behind-tls-proxy if a proxy in front does TLS", o.Listen)
	case o.PublicURL != "":
		if err := api.CheckURL(o.PublicURL); err != nil {
			return fmt.Errorf("public-url: %w", err)
		}
	case o.TLSCert != "" || !loopback:
		return errors.New("public-url is missing; give the URL that clients are told, for example https://access.example.com")
	}
	return nil
}

// publicURL is the configured one, or the address itself on loopback.
func (o *options) publicURL(listening net.Addr) string {
	if o.PublicURL != "" {
		return strings.TrimSuffix(o.PublicURL, "/")
	}
	return "http://" + listening.String()
}
