package agent_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/agent"
	"github.com/cardea-ssh/cardea/agent/agenttest"
	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/tcptest"
	"golang.org/x/crypto/ssh"
)

// patience is how long something may take that has to happen.
const patience = 5 * time.Second

// door is a gateway's address, and who came there.
type door struct {
	testing.TB
	api.Route
	came chan net.Conn
}

func newDoor(t testing.TB) *door {
	t.Helper()
	l := tcptest.Listen(t)
	d := &door{TB: t, came: make(chan net.Conn, 16), Route: agenttest.NewGateway(t).Route(l.Addr().String())}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.SetDeadline(time.Now().Add(patience))
			d.came <- conn
		}
	}()
	return d
}

// next is who came, who has said nothing yet.
func (d *door) next() net.Conn {
	d.Helper()
	select {
	case conn := <-d.came:
		d.Cleanup(func() { conn.Close() })
		return conn
	case <-time.After(patience):
		d.Fatal("nobody came")
		return nil
	}
}

// await waits until somebody has come, for next to take. Where the control plane has answered
// before, a guess is given up that has not even come.
func (d *door) await() {
	for end := time.Now().Add(patience); len(d.came) == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}

// left makes sure that who came has gone without a word.
func left(t testing.TB, conn net.Conn) {
	t.Helper()
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("%d bytes were said at a gateway, %v; want an end without a word", n, err)
	}
}

// ahead is alice's laptop, whose connections lead to these gateways, and a "cardea ssh" on it.
func ahead(t testing.TB, doors ...*door) (*agenttest.World, *agent.Control) {
	t.Helper()
	w := agenttest.New(t, agenttest.Entry("web-1", "web"))
	w.Start()
	w.UntilListed() // gateways are guessed by the project of a server
	lead(w, doors...)
	return w, &agent.Control{Paths: w.Paths, Ahead: true}
}

func lead(w *agenttest.World, doors ...*door) {
	w.OnConnect(func(out *api.Connection, _ ssh.PublicKey) {
		out.Routes, out.Ticket = nil, []byte("ticket")
		for _, d := range doors {
			out.Routes = append(out.Routes, d.Route)
		}
	})
}

func prepare(w *agenttest.World, c *agent.Control) {
	w.Helper()
	if _, err := c.Prepare(w.Context(), "web-1", ""); err != nil {
		w.Fatal(err)
	}
}

func TestWhatIsPreparedIsDialledAndHandedOverOnce(t *testing.T) {
	d := newDoor(t)
	w, c := ahead(t, d)
	prepare(w, c)
	there := d.next()
	got := w.Connect("web-1", 0)
	if got.Conn == nil || got.Dialled != d.Address || len(got.Routes) != 1 || got.Routes[0].Address != d.Address {
		t.Fatalf("got %+v", got)
	}
	defer got.Conn.Close()
	for name, pair := range map[string][2]net.Conn{"up": {got.Conn, there}, "down": {there, got.Conn}} {
		word := make([]byte, 4)
		io.WriteString(pair[0], "word")
		if _, err := io.ReadFull(pair[1], word); err != nil || string(word) != "word" {
			t.Errorf("%s: %q, %v", name, word, err)
		}
	}
	if again := w.Connect("web-1", 0); again.Conn != nil || again.Dialled != "" {
		t.Errorf("a second one was handed over: %+v", again)
	}
	// It is nobody's but the helper's: with him it ends.
	got.Conn.Close()
	left(t, there)
	if len(d.came) != 0 {
		t.Error("it was dialled twice")
	}
}

func TestNothingIsDialledAheadUnaskedOrWhereNoGatewayIs(t *testing.T) {
	d := newDoor(t)
	w, c := ahead(t, d)
	prepare(w, w.Ask) // as an older program does, or one whose way leads through a proxy
	if got := w.Connect("web-1", 0); got.Conn != nil {
		t.Error("it was dialled unasked")
	}
	direct := newDoor(t)
	direct.Recipients = nil
	lead(w, direct)
	w.Connect("web-1", 0) // after which no gateway is guessed
	prepare(w, c)
	inside := newDoor(t)
	if got := w.Connect("web-1", 0); got.Conn != nil {
		t.Error("a server was dialled")
	}
	inside.TLS = &api.TLSRoute{Address: inside.Address, Recipients: inside.Recipients}
	inside.Address = d.Address
	if err := w.Ask.Worked(t.Context(), inside.TLS.Address); err != nil {
		t.Fatal(err)
	}
	lead(w, inside)
	prepare(w, c)
	if got := w.Connect("web-1", 0); got.Conn != nil || !got.Routes[0].TLS {
		t.Errorf("the plain way was dialled where the one inside TLS comes first: %+v", got)
	}
	if len(d.came)+len(direct.came) != 0 {
		t.Errorf("%d and %d came", len(d.came), len(direct.came))
	}
}

func TestWhatWasGuessedWronglyIsClosedAndTheRightOneDialled(t *testing.T) {
	before, now := newDoor(t), newDoor(t)
	w, c := ahead(t, before)
	w.Connect("web-1", 0) // the agent remembers where that led
	w.OnConnect(func(out *api.Connection, _ ssh.PublicKey) {
		before.await()
		out.Routes, out.Ticket = []api.Route{now.Route}, []byte("ticket")
	})
	prepare(w, c)
	left(t, before.next())
	now.next()
	got := w.Connect("web-1", 0)
	if got.Conn == nil || got.Dialled != now.Address {
		t.Fatalf("got %+v", got)
	}
	got.Conn.Close()
	// And of several the one that was guessed comes first.
	lead(w, before, now)
	prepare(w, c)
	now.next()
	if got := w.Connect("web-1", 0); got.Dialled != now.Address || got.Routes[0].Address != now.Address || len(got.Routes) != 2 {
		t.Errorf("got %+v", got)
	} else {
		got.Conn.Close()
	}
}

func TestAGatewayThatCannotBeDialledAheadIsTheHelpersToDial(t *testing.T) {
	d := newDoor(t)
	d.Address = "127.0.0.1:1"
	w, c := ahead(t, d)
	prepare(w, c)
	if got := w.Connect("web-1", 0); got.Conn != nil || got.Dialled != "" || len(got.Routes) != 1 {
		t.Errorf("got %+v", got)
	}
	// Beside another one it comes later, now that this is known.
	other := newDoor(t)
	lead(w, d, other)
	prepare(w, c)
	if got := w.Connect("web-1", 0); got.Dialled != other.Address || len(got.Routes) != 2 || got.Routes[0].Address != other.Address {
		t.Errorf("dialled %q, the first is %s", got.Dialled, got.Routes[0].Address)
	} else {
		got.Conn.Close()
	}
}

// An older helper cannot take it, an ssh that finds a master never comes, and a lock leaves
// nothing that could be used.
func TestWhatNobodyTakesIsClosedWithoutAWord(t *testing.T) {
	t.Parallel() // it waits until somebody would have come
	d := newDoor(t)
	w, c := ahead(t, d)
	for name, then := range map[string]func() error{
		"nobody comes": func() error { return nil },
		"an older helper comes": func() error {
			conn, err := net.Dial("unix", w.Paths.ControlSocket())
			if err != nil {
				return err
			}
			defer conn.Close()
			io.WriteString(conn, `{"verb":"connect","host":"web-1"}`+"\n")
			var out struct{ Connected *agent.Connected }
			if err := json.NewDecoder(conn).Decode(&out); err != nil || out.Connected == nil || out.Connected.Dialled != "" {
				t.Errorf("an older helper was told %+v, %v", out.Connected, err)
			}
			return nil
		},
		"somebody signs out": func() error { w.Ask.SignInChanged(t.Context(), false); return nil },
	} {
		prepare(w, c)
		there := d.next()
		if err := then(); err != nil {
			t.Fatal(err)
		}
		left(t, there)
		if got := w.Connect("web-1", 0); got.Conn != nil {
			t.Errorf("%s: it was handed over nevertheless", name)
		}
	}
	prepare(w, c)
	there := d.next()
	if err := w.Ask.Lock(t.Context(), "open sesame"); err != nil {
		t.Fatal(err)
	}
	left(t, there)
	if _, err := c.Prepare(t.Context(), "web-1", ""); api.KindOf(err) != api.Denied || len(d.came) != 0 {
		t.Errorf("a locked agent dialled %d times, %v", len(d.came), err)
	}
}

func TestWhereItIsRefusedTheGuessIsClosed(t *testing.T) {
	d := newDoor(t)
	w, c := ahead(t, d)
	w.Connect("web-1", 0)
	w.Control.On("POST", "/v1/connect", func(agenttest.Call) (any, error) { d.await(); return nil, api.Errorf(api.Denied, "no") })
	if _, err := c.Prepare(t.Context(), "web-1", ""); api.KindOf(err) != api.Denied {
		t.Error(err)
	}
	left(t, d.next())
}

// Where a round trip is long ssh's version is better sent with the hello than a descriptor
// passed; where a gateway is only busy it is not.
func TestAGatewayThatIsFarIsKnownAsSuch(t *testing.T) {
	const ms = time.Millisecond
	d := newDoor(t)
	w, _ := ahead(t, d)
	for i, c := range []struct {
		took time.Duration
		far  bool
	}{{0, false}, {31 * ms, true}, {30 * ms, true}, {29 * ms, false}, {time.Second, false}} {
		told := []agent.Attempt{{Address: d.Address, Dialled: 1, Answered: c.took}, {Address: fmt.Sprint(i), Dialled: 1}}
		if err := w.Ask.Went(t.Context(), told); err != nil {
			t.Fatal(err)
		}
		w.Until("the agent has heard of it", func() bool {
			st, err := w.Ask.Status(t.Context())
			return err == nil && len(st.Measures) == i+2
		})
		if got, err := w.Ask.Prepare(t.Context(), "web-1", ""); err != nil || got.Far != c.far {
			t.Errorf("answered within %s: far %v, %v", c.took, got.Far, err)
		}
	}
}

// Alice signs out while the control plane thinks, and bob signs in: what comes then is hers.
func TestWhatWasBegunBeforeSomebodySignedOutIsOpenedForNobody(t *testing.T) {
	d := newDoor(t)
	w, c := ahead(t, d)
	asked := func() int { return len(w.Control.Calls("POST", "/v1/connect")) }
	odd := false // guarded by w
	w.OnConnect(func(out *api.Connection, _ ssh.PublicKey) {
		if out.Routes, out.Ticket = []api.Route{d.Route}, []byte("ticket"); !odd {
			w.Ask.SignInChanged(w.Context(), false)
		}
		odd = !odd
	})
	prepare(w, c)
	got := w.Connect("web-1", 0)
	if got.Conn != nil || asked() != 2 || len(d.came) != 0 {
		t.Errorf("what was prepared was used: handed over %v, asked %d times, dialled %d times", got.Conn != nil, asked(), len(d.came))
	}
	w.Connect("web-1", 0)
	if asked() != 4 {
		t.Errorf("what was being made was used: asked %d times", asked())
	}
	if s, err := w.Ask.Status(t.Context()); err != nil || s.Identities != 1 {
		t.Errorf("%d identities are there, %v", s.Identities, err)
	}
}
