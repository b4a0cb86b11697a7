package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/daemon"
	"github.com/cardea-ssh/cardea/internal/ident"
	serveragent "github.com/cardea-ssh/cardea/server-agent"
	"github.com/cardea-ssh/cardea/server-agent/labels"
)

const configFile = "/etc/cardea/server-agent.yaml"

// options are those of every verb; each is a flag, a variable and a key.
type options struct {
	daemon.LogOptions
	ControlURL      string              `name:"control-url" help:"URL of the control plane; needed to enrol, remembered afterwards"`
	StateDir        string              `name:"state-dir" help:"folder of this server's identity and last good state"`
	TokenFile       string              `name:"token-file" help:"file with an enrolment token, removed after use (default enrollment.token in the state folder)"`
	Cloud           string              `name:"cloud" help:"enrol without a token by what a cloud says of this host: aws, gcp, azure, or auto; needs an enrolment rule"`
	AccessAddress   string              `name:"access-address" help:"host or host:port at which sshd is reached, proposed to the control plane (default: found)"`
	AccessInterface string              `name:"access-interface" help:"interface whose address is proposed in place of access_address, and followed when it changes"`
	HTTPSProxy      string              `name:"https-proxy" help:"URL of the HTTP proxy towards the control plane (default: HTTPS_PROXY; NO_PROXY holds too)"`
	Hostname        string              `name:"hostname" help:"name to propose for this server (default: the host's own)"`
	AltNames        []string            `name:"alt-names" help:"further names to propose for this server"`
	Bastion         string              `name:"bastion" help:"server to propose as the way to this one: a name or project/name"`
	HostLabels      map[string]string   `name:"host-labels" help:"labels that this host gives itself; they are shown below host/ and never grant anything"`
	LabelCommands   map[string][]string `name:"label-commands" help:"programs that print the value of a label: key=word, once for each word, the first the program's absolute path"`
	CloudLabels     bool                `name:"cloud-labels" help:"take labels from the tags that AWS, GCP or Azure has for this host"`
	LabelInterval   time.Duration       `name:"label-interval" help:"how often the programs are run"`
	DefaultShell    string              `name:"default-shell" help:"shell of people who have none of their own (default /bin/bash)"`
	Adopt           []string            `name:"adopt" help:"accounts of this host that people may be let into, where their project makes none"`
	AuthLog         string              `name:"auth-log" help:"log file to read logins from (default: the journal, else /var/log/auth.log)"`
}

// defaults are the options of a program to which nobody has said anything.
func defaults() options {
	return options{StateDir: serveragent.DefaultStateDir, LabelInterval: labels.DefaultInterval, CloudLabels: true}
}

// check finds what is wrong in the options themselves, before anything is read
// or made for them. What the agent would silently not use is wrong, too.
func (o options) check() error {
	if o.ControlURL != "" {
		if err := api.CheckURL(o.ControlURL); err != nil {
			return fmt.Errorf("control-url: %w", err)
		}
	}
	if err := serveragent.CheckCloud(o.Cloud); err != nil {
		return fmt.Errorf("cloud: %w", err)
	}
	for _, path := range []struct{ name, value string }{{"state-dir", o.StateDir}, {"default-shell", o.DefaultShell}} {
		if path.value != "" && !filepath.IsAbs(path.value) {
			return fmt.Errorf("%s: %q is not an absolute path", path.name, path.value)
		}
	}
	if o.StateDir == "" {
		return errors.New("state-dir is empty")
	}
	if o.AccessAddress != "" && !isAccess(o.AccessAddress) {
		return fmt.Errorf("access-address: %q is neither a host nor host:port, such as 10.0.0.7 or web-1.example.com:22", o.AccessAddress)
	}
	if o.AccessInterface != "" && o.AccessAddress != "" {
		return errors.New("access-interface: access-address is given too; leave out one")
	}
	if !isInterface(o.AccessInterface) {
		return fmt.Errorf("access-interface: %q is not the name of an interface, such as eth0", o.AccessInterface)
	}
	if o.HTTPSProxy != "" {
		if _, err := serveragent.Proxy(o.HTTPSProxy); err != nil {
			return fmt.Errorf("https-proxy: %w", err)
		}
	}
	if o.Hostname != "" {
		if err := ident.ServerName(strings.ToLower(o.Hostname)); err != nil {
			return fmt.Errorf("hostname: %w", err)
		}
	}
	if err := ident.AltNames(o.AltNames); err != nil {
		return fmt.Errorf("alt-names: %w", err)
	}
	if o.Bastion != "" {
		if err := ident.ServerRef(o.Bastion); err != nil {
			return fmt.Errorf("bastion: %w", err)
		}
	}
	for _, login := range o.Adopt {
		if err := ident.Login(login); err != nil {
			return fmt.Errorf("adopt: %w", err)
		}
	}
	if o.LabelInterval < labels.MinInterval || o.LabelInterval > labels.MaxInterval {
		return fmt.Errorf("label-interval: %s is not between %s and %s", o.LabelInterval, labels.MinInterval, labels.MaxInterval)
	}
	_, err := labels.New(o.HostLabels, o.LabelCommands)
	return err
}

// isInterface is the kernel's rule for names of interfaces (dev_valid_name), of those
// that can be shown.
func isInterface(name string) bool {
	return len(name) < 16 && name != "." && name != ".." && !strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r > '~' || r == '/' || r == ':'
	})
}

// isAccess reports whether address can be dialled, as far as its text tells.
func isAccess(address string) bool {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		host, port = strings.Trim(address, "[]"), "22"
	}
	n, err := net.LookupPort("tcp", port)
	if err != nil || n == 0 {
		return false
	}
	_, err = netip.ParseAddr(host)
	return err == nil || ident.ServerName(host) == nil
}
