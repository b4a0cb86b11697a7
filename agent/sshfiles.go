package agent

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/atomicfile"
	"github.com/cardea-ssh/cardea/sshcert"
	"github.com/cardea-ssh/cardea/sshconfig"
	"golang.org/x/crypto/ssh"
)

// written are the inputs of the files that were written last.
type written struct {
	version, own, socket string
}

// writeSSH brings ssh's two files in step with the catalog.
func (a *Agent) writeSSH(ctx context.Context) error {
	cat, _, err := a.catalog.get()
	if err != nil {
		return nil // nothing is known, so nothing is written over
	}
	ownText := a.ownConfig()
	inputs := written{cat.Version, string(ownText), a.userSocket()}
	if inputs == a.written {
		return nil
	}
	list, skipped := hosts(cat.Servers, sshconfig.OwnHosts(ownText, a.openInclude))
	a.catalog.mu.Lock()
	a.catalog.skipped = skipped
	a.catalog.mu.Unlock()
	trust := trustOf(cat, list)
	known, err := sshconfig.KnownHosts(trust)
	if err != nil {
		return err
	}
	a.probe.Do(func() {
		// Whoever wakes us in the middle of a poll must not make this ssh an unsafe one.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTime)
		defer cancel()
		a.passLogin = sshconfig.SafeLogin(ctx, cmp.Or(a.ssh, "ssh"))
	})
	config, err := sshconfig.Config(sshconfig.Values{
		Hosts: list, Binary: a.binary, AgentSocket: a.paths.SSHSocket(), KnownHosts: a.paths.KnownHosts(),
		PassLogin: a.passLogin, UserAgentSocket: inputs.socket,
	})
	if err != nil {
		return err
	}
	// known_hosts first: a new host must never meet old trust, and old hosts do with new.
	for _, f := range []struct {
		path string
		text []byte
	}{{a.paths.KnownHosts(), known}, {a.paths.SSHConfig(), config}} {
		if _, err := atomicfile.Write(f.path, f.text, atomicfile.Options{Mode: 0o600}); err != nil {
			return err
		}
	}
	a.written = inputs
	a.catalog.mu.Lock()
	a.catalog.known = trust
	a.catalog.mu.Unlock()
	return nil
}

// trustOf is what ssh and other programs shall believe of the servers in list.
func trustOf(cat *api.Catalog, list []sshconfig.Host) sshconfig.Trust {
	trust := sshconfig.Trust{Pattern: sshcert.HostPattern, HostCAs: cat.HostCAs, GatewayCAs: cat.GatewayCAs}
	names := make(map[string][]string, len(list))
	for _, h := range list {
		names[h.HostKeyAlias] = h.Names
	}
	recorded := map[string][]string{} // their names, by project
	for _, e := range cat.Servers {
		alias := sshcert.HostPrincipal(e.ID)
		if e.Recorded {
			trust.Recorded = append(trust.Recorded, alias)
			recorded[e.Project] = append(recorded[e.Project], names[alias]...)
			continue
		}
		trust.Plain = append(trust.Plain, plainKeys(names[alias], []string{e.HostKey})...)
	}
	for _, project := range slices.Sorted(maps.Keys(recorded)) {
		trust.Plain = append(trust.Plain, plainKeys(recorded[project], cat.GatewayHostKeys[project])...)
	}
	return trust
}

// plainKeys are keys any of which may be shown under any of these names: a server's own, or
// those of all gateways that may stand in the place of some. What is no Ed25519 key is left out.
func plainKeys(names, lines []string) (out []sshconfig.PlainKey) {
	for _, line := range lines {
		key, err := sshcert.ParseLine(line)
		if err != nil || key.Type() != ssh.KeyAlgoED25519 {
			continue
		}
		for some := range slices.Chunk(names, sshconfig.NamesPerLine) {
			out = append(out, sshconfig.PlainKey{Names: some, Key: sshcert.Line(key)})
		}
	}
	return out
}

// maxOwnConfig bounds each file of the user's ssh configuration that is read for its names.
const maxOwnConfig = 4 << 20

func (a *Agent) ownConfig() []byte {
	text, err := readUpTo(filepath.Join(filepath.Dir(a.paths.SSH), "config"), maxOwnConfig)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.log.Warn("read the user's ssh configuration for names that are taken", "error", err)
	}
	return text
}
