package agent

import (
	"bytes"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	// useGrace is how long an identity stays after its first signature: ssh signs once, and
	// a second time only where a server asks for it in the same breath.
	useGrace = 10 * time.Second
	// maxLive bounds the identities in memory. 200 connections at once are a busy day.
	maxLive = 1024
	// maxOwners bounds the processes that are remembered to have had an identity: with some
	// bytes for each, weeks of connections.
	maxOwners = 1 << 14
	// maxOffered is how many identities an ssh gets that does not say where it connects to
	// (before 8.9). sshd allows six tries by default, and the user may have a key as well.
	maxOffered = 5
)

// identity is the fresh key and certificate of one connection.
type identity struct {
	serverID   string
	serverName string
	login      string
	parent     int // process id of the ssh that started the ProxyCommand; 0 if unknown
	// gateways are those that may stand in the server's place, where the connection is
	// recorded; else the server shows itself.
	gateways []string
	cert     *ssh.Certificate
	blob     []byte // cert in wire format
	sign     func(data []byte) (*ssh.Signature, error)
	expires  time.Time
	used     time.Time // of the first signature; zero before
	// era is when it was begun to be made, as identities.era has it.
	era int
}

// identities are those that are alive, oldest first. It is safe for concurrent use.
type identities struct {
	now func() time.Time

	mu   sync.Mutex
	list []*identity // guarded by mu, as below
	era  int         // how often all were forgotten
	// owners are the processes that started a helper, in the order in which owned has them.
	// They stay after their identities, until there are too many.
	owners map[int]bool
	owned  []int
}

// current is what an identity has to name that is begun to be made now.
func (s *identities) current() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.era
}

// add takes one in, but none that was begun before all were forgotten: it is of a session that
// is over, or of before a lock.
func (s *identities) add(id *identity) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id.era != s.era {
		return false
	}
	s.prune()
	if len(s.list) >= maxLive {
		s.list = slices.Delete(s.list, 0, len(s.list)-maxLive+1)
	}
	s.list = append(s.list, id)
	s.own(id.parent)
	return true
}

// own remembers a process that started a helper.
func (s *identities) own(pid int) {
	if pid == 0 || s.owners[pid] {
		return
	}
	if s.owners == nil {
		s.owners = map[int]bool{}
	}
	if len(s.owned) >= maxOwners {
		delete(s.owners, s.owned[0])
		s.owned = s.owned[1:]
	}
	s.owners[pid], s.owned = true, append(s.owned, pid)
}

// owns tells whether a process is one that started a helper.
func (s *identities) owns(pid int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return pid != 0 && s.owners[pid]
}

// clear forgets all, for a lock or a change of who is signed in.
func (s *identities) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = nil
	s.era++
}

func (s *identities) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prune()
	return len(s.list)
}

func (s *identities) prune() {
	now := s.now()
	s.list = slices.DeleteFunc(s.list, func(id *identity) bool {
		return !now.Before(id.expires) || !id.used.IsZero() && now.Sub(id.used) > useGrace
	})
}

// meets tells whether the connection that id is for leads to what was met: the server
// itself or, where it is recorded, one of its gateways and never the server.
func (id *identity) meets(serverID, gateway string) bool {
	if gateway == "" {
		return id.serverID == serverID && len(id.gateways) == 0
	}
	return id.serverID == serverID && slices.Contains(id.gateways, gateway)
}

// forServer returns the identity for a connection to serverID, or to the gateway in its
// place, by process pid: the one whose helper that process started, else the newest for
// it. If the process has an identity for something else only, it is not where it should be,
// and gets nothing.
func (s *identities) forServer(serverID, gateway string, pid int) []*identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prune()
	var newest *identity
	elsewhere := false
	for _, id := range slices.Backward(s.list) {
		switch {
		case id.meets(serverID, gateway) && id.parent == pid && pid != 0:
			return []*identity{id}
		case id.meets(serverID, gateway) && newest == nil:
			newest = id
		case !id.meets(serverID, gateway) && id.parent == pid && pid != 0:
			elsewhere = true
		}
	}
	if newest == nil || elsewhere {
		return nil
	}
	return []*identity{newest}
}

// forProcess returns what a process gets that does not say where it connects to: the
// identity whose helper it started, else the newest few.
//
// A process that started a helper once gets its own or nothing. It is an ssh that forwards
// our socket (-A), and if it is too old to say so (before 8.9), the host at its other end
// asks through it: that host would take the next identity of any other server.
func (s *identities) forProcess(pid int) []*identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prune()
	var newest []*identity
	for _, id := range slices.Backward(s.list) {
		if id.parent == pid && pid != 0 {
			return []*identity{id}
		}
		if len(newest) < maxOffered {
			newest = append(newest, id)
		}
	}
	if s.owners[pid] {
		return nil
	}
	return newest
}

// markUsed notes the first signature.
func (s *identities) markUsed(id *identity) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id.used.IsZero() {
		id.used = s.now()
	}
}

// find returns the identity among those offered whose certificate is blob.
func find(offered []*identity, blob []byte) *identity {
	for _, id := range offered {
		if bytes.Equal(id.blob, blob) {
			return id
		}
	}
	return nil
}
