package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/hello"
	"github.com/cardea-ssh/cardea/sshcert"
)

// The control protocol is one line of JSON each way, then the connection is closed. A catalog
// may be answered in another form, see compact.go.

const (
	// maxRequest bounds a request, bytes. A real one has a few hundred.
	maxRequest = 64 << 10
	// maxAnswer bounds an answer: the catalog of a large team, with room.
	maxAnswer = 64 << 20
	// requestTime is how long a request may take to arrive.
	requestTime = 5 * time.Second
	// answerTime bounds everything that a request starts: the control plane may wait 2 s for
	// a server to confirm, and the network may be slow.
	answerTime = 30 * time.Second
)

// The verbs.
const (
	verbConnect       = "connect"
	verbPrepare       = "prepare"
	verbStatus        = "status"
	verbCatalog       = "catalog"
	verbRefresh       = "refresh"
	verbSignInChanged = "sign-in-changed"
	verbImpostor      = "impostor"
	verbHostKey       = "host-key" // an older agent does not know it, and takes no harm
	verbWorked        = "worked"   // nor this
	verbFiles         = "files"    // nor this
	verbLikely        = "likely"   // nor this
	verbWent          = "went"     // nor this
	verbLock          = "lock"     // nor this
	verbUnlock        = "unlock"   // nor this
	verbNames         = "names"    // nor this
	verbLabels        = "labels"   // nor this
	verbStop          = "stop"
)

type request struct {
	Verb   string `json:"verb"`
	Host   string `json:"host,omitempty"`
	Login  string `json:"login,omitempty"`
	Parent int    `json:"parent,omitempty"`
	// Impostor is what was met at a gateway's address, or shown at a server's.
	Impostor *api.Impostor `json:"impostor,omitempty"`
	// Files is a folder with a key of ours in files, and Until how long it is wanted.
	Files string    `json:"files,omitempty"`
	Until time.Time `json:"until,omitzero"`
	// Address is where a connection inside TLS has worked.
	Address string `json:"address,omitempty"`
	// Attempts are how it went at gateways.
	Attempts []Attempt `json:"attempts,omitempty"`
	// Same says that who signed in is who was signed in before.
	Same bool `json:"same,omitempty"`
	// Passphrase locks or unlocks.
	Passphrase string `json:"passphrase,omitempty"`
	// Columns takes a catalog in a form that is read faster. An older agent gives JSON.
	Columns bool `json:"columns,omitempty"`
	// Typed is what stands behind a Tab, Most how many words are wanted, and Dotted in which
	// form.
	Typed  string `json:"typed,omitempty"`
	Most   int    `json:"most,omitempty"`
	Dotted bool   `json:"dotted,omitempty"`
	// Unseen says that nobody reads what the helper writes.
	Unseen bool `json:"unseen,omitempty"`
	// Trace asks for the steps of a connection. An older agent gives none.
	Trace bool `json:"trace,omitempty"`
	// Ahead has what is prepared dialled as well, and Descriptor takes such a connection. An
	// older agent dials nothing.
	Ahead      bool `json:"ahead,omitempty"`
	Descriptor bool `json:"descriptor,omitempty"`
}

type answer struct {
	Error     *api.Error   `json:"error,omitempty"`
	Connected *Connected   `json:"connected,omitempty"`
	Status    *Status      `json:"status,omitempty"`
	Catalog   *api.Catalog `json:"catalog,omitempty"`
	Lent      *Lent        `json:"lent,omitempty"`
	Likely    string       `json:"likely,omitempty"`
	Words     *Words       `json:"words,omitempty"`
	// Age is that of Catalog.
	Age time.Duration `json:"age,omitempty"`

	encodedCatalog []byte // stands for Catalog in an answer that is written
}

// encode writes the answer as a line. The catalog is encoded already, since for ten thousand
// servers that takes longer than everything else.
func (a answer) encode() ([]byte, error) {
	if a.encodedCatalog == nil {
		text, err := json.Marshal(a)
		return append(text, '\n'), err
	}
	return columnsAnswer(a.encodedCatalog, a.Age), nil
}

// send writes the answer's text, and hands over what belongs to it.
func (a answer) send(conn net.Conn, text []byte) {
	if a.Connected == nil || a.Connected.Conn == nil {
		conn.Write(text)
		return
	}
	defer a.Connected.Conn.Close()
	writeWith(conn, text, a.Connected.Conn)
}

// Connected is a connection that may begin: the identity waits in the agent.
type Connected struct {
	ServerID   string  `json:"server_id"`
	ServerName string  `json:"server_name"`
	Login      string  `json:"login"`
	Routes     []Route `json:"routes"` // to be tried in order
	// Notice is a sentence for the user, or empty.
	Notice string `json:"notice,omitempty"`
	// Steps are what was done for it, in order, if that was asked for.
	Steps []Step `json:"steps,omitempty"`
	// Dialled is the address to which Conn leads, for the route to it: a connection on which
	// nothing was said yet. Whoever asked has to close it. Most connections have none.
	Dialled string   `json:"dialled,omitempty"`
	Conn    net.Conn `json:"-"`
	// Far says that the first route leads to a gateway so far away that a helper which copies,
	// and can send ssh's version with the hello, is better than one that passes a descriptor.
	Far bool `json:"far,omitempty"`
}

// Route is one address to dial.
type Route struct {
	Address string `json:"address"`
	// Bastion is the id of the server from which Address is dialled; "" is here.
	Bastion string `json:"bastion,omitempty"`
	// Hello is sent first, once; it is empty where Address is the server's own sshd.
	Hello []byte `json:"hello,omitempty"`
	// Keys read the gateway's answer to Hello.
	Keys hello.AnswerKeys `json:"keys,omitzero"`
	// TLS says that all of it is spoken inside TLS.
	TLS bool `json:"tls,omitempty"`

	gateway int // which of those that were named it leads to, from 1; zero is none
}

// Direct reports whether the route leads to sshd without a gateway.
func (r Route) Direct() bool { return len(r.Hello) == 0 }

// Status is what an agent says about itself.
type Status struct {
	PID       int       `json:"pid"`
	Version   string    `json:"version"`
	Since     time.Time `json:"since"`
	SSHSocket string    `json:"ssh_socket"`
	// SSHConfig is the file that it keeps fresh for ssh to include. An agent that was
	// started with another HOME has another one.
	SSHConfig string `json:"ssh_config,omitempty"`
	// Identities is how many connections' keys it holds right now.
	Identities int `json:"identities"`
	// SeenAt is when the catalog was last known to be current; zero if never.
	SeenAt  time.Time `json:"seen_at,omitzero"`
	Servers int       `json:"servers"`
	// Locked says that it signs nothing until it is unlocked.
	Locked bool `json:"locked,omitempty"`
	// Skipped are servers whose names the user's own ssh configuration uses.
	Skipped []string `json:"skipped,omitempty"`
	// Problem is why the catalog is not current, or why a file could not be written.
	Problem string `json:"problem,omitempty"`
	// Gateways are those to which the last connections were led, the newest first.
	Gateways []Gateway `json:"gateways,omitempty"`
	// Measures are how it went at gateways in the last minutes, from this network.
	Measures []Measure `json:"measures,omitempty"`
}

// serveControl answers one request on conn.
func (a *Agent) serveControl(ctx context.Context, conn net.Conn) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	if err := conn.SetReadDeadline(time.Now().Add(requestTime)); err != nil {
		return
	}
	line, err := bufio.NewReaderSize(io.LimitReader(conn, maxRequest+1), 4096).ReadBytes('\n')
	var out answer
	var req request
	switch {
	case errors.Is(err, io.EOF) && len(line) == 0:
		return // somebody looked whether we are there
	case err != nil || len(line) > maxRequest || json.Unmarshal(line, &req) != nil:
		out.Error = api.Errorf(api.Foreign, "the agent was sent a request that it cannot read")
	default:
		out = a.handle(ctx, req)
	}
	text, err := out.encode()
	if err != nil {
		a.log.Error("write an answer", "error", err)
		return
	}
	if conn.SetWriteDeadline(time.Now().Add(answerTime)) == nil {
		out.send(conn, text) // who asked may have gone, and then nobody is to be told
	}
	switch req.Verb {
	case verbStop:
		a.stop()
	case verbConnect:
		a.tellUnseen(ctx, req, out)
	case verbImpostor, verbHostKey:
		a.warn(ctx, req.Impostor) // ssh waits for who asked, who need not wait for this
	}
}

func (a *Agent) handle(ctx context.Context, req request) (out answer) {
	a.touch()
	var err error
	switch req.Verb {
	case verbConnect, verbPrepare, verbFiles:
		if err = a.canConfirm(req); err != nil {
			return answer{Error: asError(err)}
		}
	}
	switch req.Verb {
	case verbConnect:
		out.Connected, err = a.connect(ctx, req)
	case verbPrepare:
		out.Connected, err = a.prepare(ctx, req)
	case verbStatus:
		s := a.status()
		out.Status = &s
	case verbCatalog:
		if req.Columns {
			out.encodedCatalog, out.Age, err = a.catalog.encodedForm()
		} else { // an older program asks
			out.Catalog, out.Age, err = a.catalog.shown()
		}
	case verbNames, verbLabels:
		out.Words, err = a.words(req)
	case verbLikely:
		out.Likely = a.likely(req.Host)
	case verbFiles:
		out.Lent, err = a.lend(ctx, req)
	case verbRefresh:
		err = a.refresh(ctx)
	case verbSignInChanged:
		a.signInChanged(req.Same)
	case verbLock:
		err = a.lockUp(req.Passphrase)
	case verbUnlock:
		err = a.unlock(req.Passphrase)
	case verbWorked:
		a.ways.worked(req.Address, a.here(), a.now())
	case verbWent:
		a.measures.note(req.Attempts, a.here(), a.now())
	case verbImpostor, verbHostKey, verbStop:
	default:
		err = api.Errorf(api.Foreign, "the agent does not know the verb %q", req.Verb).WithHint("it may be older than this program; type: cardea agent stop")
	}
	if err != nil {
		out = answer{Error: asError(err)}
	}
	return out
}

// warn tells the control plane of an impostor. What servers show is told for every direct
// connection, and nearly always right.
func (a *Agent) warn(ctx context.Context, met *api.Impostor) {
	if met == nil || met.Server != "" && a.rightHost(met) {
		return
	}
	a.log.Warn("something else answers at the address of a gateway or server", "address", met.Address, "gateways", met.Gateways, "server", met.Server)
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	client, err := a.account.Client(ctx)
	if err == nil {
		err = client.Send(ctx, http.MethodPost, "/v1/impostors", met, nil)
	}
	if err != nil {
		a.log.Error("tell the control plane of an impostor", "error", err)
	}
}

// rightHost reports whether a server showed its own host certificate.
func (a *Agent) rightHost(met *api.Impostor) bool {
	cert, err := sshcert.ParseCertificateLine(met.HostKey)
	return err == nil && sshcert.VerifyHost(cert, sshcert.ExpectHost{CAs: a.catalog.hostCAs(), ServerID: met.Server, Now: a.now()}) == nil
}

// asError keeps an api.Error and makes one of anything else.
func asError(err error) *api.Error {
	var e *api.Error
	if errors.As(err, &e) {
		return e
	}
	return api.Errorf(api.Internal, "%s", err)
}
