package proxycmd

import (
	"io"
	"slices"
	"strings"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/hostkey"
	"golang.org/x/crypto/ssh"
)

// lookout reads a direct connection to a server and tells once what host key passes. On the
// way through a gateway the gateway does it; where the descriptor goes to ssh nobody can.
//
// It tells before the piece goes on: ssh ends its ProxyCommand the moment it does not like
// what it sees.
type lookout struct {
	from  io.Reader
	tell  func(api.Impostor)
	shown hostkey.Reader
	told  bool
}

func (l *lookout) Read(p []byte) (int, error) {
	n, err := l.from.Read(p)
	if !l.told {
		l.shown.Write(p[:n])
		if l.told = l.shown.Done() || l.noOffer(); l.told {
			l.tell(api.Impostor{HostKey: l.shown.Line(), HostKeyAlgorithms: l.shown.Algorithms(), HostKeyHidden: l.shown.Hidden()})
		}
	}
	return n, err
}

// noOffer reports that the server has no host certificate that ssh would take, after which
// there will be no key either.
func (l *lookout) noOffer() bool {
	offer := l.shown.Algorithms()
	return offer != "" && !slices.Contains(strings.Split(offer, ","), ssh.CertAlgoED25519v01)
}
