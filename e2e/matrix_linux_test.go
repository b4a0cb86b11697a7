package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/demo/stage"
	"github.com/cardea-ssh/cardea/internal/sample"
	"github.com/cardea-ssh/cardea/store"
)

// The matrix: everything that people do with OpenSSH, through each kind of gateway, must
// say and end as plain ssh to the same sshd does.
//
// By default exit codes are a sample and files are small, and as a relay only copies bytes,
// its column is a sample of the rows. This variable tries all rows, all 256 codes, a long
// pause, X11, ansible, and files of fullBytes; where it is a number above 1, of so many MiB,
// for machines that have other work.
const (
	matrixVariable = "CARDEA_MATRIX"
	sampleBytes    = 3 << 20
	fullBytes      = 1 << 30
	// relaySample are the rows of the relay column beside the first.
	relaySample = 9
	// codeSample are the codes beside those that ssh or a shell gives a meaning.
	codeSample = 7
)

// drawCodes returns exit codes: many, and a few, for each of which there is a whole ssh.
func drawCodes(dice *rand.Rand) (many, few string) {
	words := func(codes ...int) string { return strings.Trim(fmt.Sprint(codes), "[]") }
	codes := dice.Perm(256)
	if os.Getenv(matrixVariable) != "" {
		return words(codes...), words(codes...)
	}
	return words(append(codes[:codeSample:codeSample], 0, 1, 127, 254, 255)...), words(codes[0], 255)
}

// drawRows returns the rows that a column has.
func drawRows(dice *rand.Rand, column string) []row {
	if os.Getenv(matrixVariable) != "" || column != "relay" {
		return matrixRows
	}
	return append(matrixRows[:1:1], sample.Of(dice, relaySample, matrixRows[1:])...)
}

func fileBytes() int64 {
	if os.Getenv(matrixVariable) == "" {
		return sampleBytes
	}
	if mib, err := strconv.ParseInt(os.Getenv(matrixVariable), 10, 32); err == nil && mib > 1 {
		return mib << 20
	}
	return fullBytes
}

// rekeyLimit gives a file a hundred new keys at most: more take a quarter of an hour.
func rekeyLimit() string { return strconv.FormatInt(max(1<<20, fileBytes()/100), 10) }

// column is one way to the same sshd.
type column struct {
	name   string
	person *stage.Person
	port   int // the first of ten that this column may listen at
}

// outcome is what a person sees.
type outcome struct {
	Stdout, Stderr string
	Code           int
}

// row is one thing that people do.
type row struct {
	name string
	// script runs in a folder of its own. $H and $H2 are servers, $FILE a file and $SUM its
	// SHA-256, $P a free port here or there, $CODES exit codes and $FEW fewer of them.
	script string
	// do is in place of a script.
	do func(m *matrix, c column, dir string) outcome
	// blind leaves out stderr, in which ssh tells numbers of its own.
	blind bool
}

var matrixRows = []row{
	{name: "a command's output, errors and exit code", script: `ssh $H 'echo out; echo err >&2; exit 3'`},
	{name: "every exit code", script: `ssh -n -M -S ./m -f -N $H; for c in $CODES; do ssh -n -S ./m $H "exit $c"; echo $c $?; done; ssh -S ./m -O exit $H 2>/dev/null
for c in $FEW; do ssh -n $H "exit $c"; echo $c $?; done`},
	{name: "a command that a signal ends", script: `for s in TERM KILL SEGV; do ssh -n $H "kill -$s \$\$"; echo $?; done`},
	{name: "a command that is not there", script: `ssh -n $H /no/such/command`},
	// What it says depends on who is interrupted first, ssh or its ProxyCommand.
	// timeout takes ALRM for its own time, and interrupts.
	{name: "a client that is interrupted", script: `: >said; timeout -s INT 600 ssh -n $H 'echo begun; exec sleep 60' >said 2>/dev/null & until grep -q begun said; do sleep 0.1; done; kill -ALRM $!; wait $!; echo $?; cat said`},
	{name: "what a command reads, to its end", script: `printf 'one\ntwo' | ssh $H 'cat; echo; echo end'`},
	{name: "a command that reads nothing", script: `ssh -n $H 'cat; echo end'; head -c 300000 /dev/zero | ssh $H 'true'; echo $?`},
	{name: "a command that stops reading", script: `head -c 2000000 /dev/zero | ssh $H 'head -c 10 | wc -c'`},
	{name: "a reader who stops reading", script: `ssh -n $H 'yes 0123456789' | head -c 200000 | sha256sum`},
	{name: "output after the command's end", script: `ssh -n $H '(sleep 1; echo late) & echo early'`},
	{name: "a shell without a terminal", script: `printf 'echo $((6*7))\nexit 5\n' | ssh -T $H`},
	{name: "a terminal that is asked for twice over", script: `ssh -tt $H 'tty >/dev/null && echo terminal; stty size; echo $TERM' </dev/null`},
	{name: "variables that may be sent", script: `LC_CARDEA=x OTHER=y ssh -n -o SendEnv=LC_CARDEA -o SendEnv=OTHER $H 'echo $LC_CARDEA $OTHER'`},
	{name: "a terminal of a size, and resized", do: (*matrix).resized},
	{name: "a file in, by a pipe", script: `ssh $H sha256sum <$FILE; echo $?`},
	{name: "a file out, by a pipe", script: `ssh $H 'cat >$HOME/copy.bin' <$FILE; ssh -n $H 'cat copy.bin' | sha256sum | cut -c1-64; echo $SUM; ssh -n $H rm copy.bin`},
	{name: "a file both ways at once", script: `ssh $H cat <$FILE | sha256sum | cut -c1-64; echo $SUM`},
	{name: "new keys all the time", script: `ssh -o RekeyLimit=$REKEY $H cat <$FILE | sha256sum | cut -c1-64; echo $SUM`},
	{name: "compression", script: `ssh -C $H cat <$FILE | sha256sum | cut -c1-64; echo $SUM`},
	{name: "scp, by sftp", script: tree + `scp -q -s -p -r tree $H:there && scp -q -s -p -r $H:there back; echo $?; diff -r tree back && echo same; stat -c '%a %Y' back/run.sh; scp -s $H:no-such-file .; echo $?; ssh -n $H rm -r there`},
	{name: "scp, the old way", script: tree + `scp -q -O -p -r tree $H:there && scp -q -O -p -r $H:there back; echo $?; diff -r tree back && echo same; stat -c '%a %Y' back/run.sh; scp -O $H:no-such-file .; echo $?; ssh -n $H rm -r there`},
	{name: "a big file by scp", script: `for how in -s -O; do scp -q $how $FILE $H:big.bin; scp -q $how $H:big.bin back.bin; sha256sum <back.bin | cut -c1-64; done; echo $SUM; ssh -n $H rm big.bin`},
	{name: "between two servers, by scp", script: `scp -q -3 $H:/etc/hostname $H2:copied; ssh -n $H2 'cat copied; rm copied'`},
	{name: "a batch of sftp", script: tree + `cat >batch <<'X'
mkdir folder
cd folder
put tree/run.sh
put -R tree/sub
chmod 600 run.sh
rename run.sh ran.sh
symlink ran.sh link
ls
get ran.sh back.sh
ln ran.sh hard
rm link
rm hard
-rm none
rm ran.sh
rm sub/*
rmdir sub
cd ..
rmdir folder
X
sftp -b batch $H 2>&1; echo $?; sha256sum <back.sh`},
	{name: "rsync, there and back", script: tree + `rsync -ai tree/ $H:synced/; echo more >>tree/run.sh; rm tree/sub/b; touch -d @1000000100 tree/run.sh tree/sub; rsync -ai --delete tree/ $H:synced/; rsync -ai $H:synced/ back/; diff -r tree back && echo same; ssh -n $H rm -r synced`},
	{name: "git clone and push", script: `ssh -n $H 'git init -q --bare -b main repo.git'
git clone -q $H:repo.git work 2>&1; cd work; git config user.name a; git config user.email a@b; git checkout -q -b main; head -c 300000 $FILE >f; git add f; GIT_AUTHOR_DATE=@1 GIT_COMMITTER_DATE=@1 git commit -qm one
git push -q origin main; echo $?; git clone -q $H:repo.git ../again; git -C ../again log --format=%H; ssh -n $H 'rm -rf repo.git'`},
	{name: "-W, standard input and output to a port there", script: `ssh -W 127.0.0.1:22 $H </dev/null | head -c 8; ssh -W 127.0.0.1:1 $H </dev/null; echo $?`, blind: true},
	{name: "-L, a port here", script: `ssh -n -M -S ./m -f -N -L 127.0.0.1:$P:127.0.0.1:22 $H
exec 3<>/dev/tcp/127.0.0.1/$P; head -c 8 <&3; exec 3>&-; ssh -S ./m -O exit $H 2>/dev/null; echo $?`},
	{name: "-L, a socket there", script: `ssh -n $H 'python3 -c "
import socket,os
s=socket.socket(socket.AF_UNIX); p=os.path.expanduser(\"~/s.sock\")
s.bind(p); s.listen()
if os.fork(): raise SystemExit
os.setsid()
for f in 0,1,2: os.close(f)
c,_=s.accept(); c.sendall(b\"from there\"); c.close(); os.unlink(p)
"; echo $?'
home=$(ssh -n $H 'echo $HOME'); ssh -n -M -S ./m -f -N -L 127.0.0.1:$P:$home/s.sock $H
exec 3<>/dev/tcp/127.0.0.1/$P; cat <&3; exec 3>&-; ssh -S ./m -O exit $H 2>/dev/null; echo $?`},
	{name: "-R, a port there", do: (*matrix).remoteForward},
	{name: "-D, SOCKS", do: (*matrix).socks},
	{name: "a master and its sessions", script: `ssh -n -M -S ./m -f -N $H; ssh -S ./m -O check $H 2>/dev/null; echo $?
for i in 1 2 3 4 5 6; do (ssh -n -S ./m $H "echo $i; exit $i" >out$i 2>&1; echo $? >>out$i) & done; wait; cat out?
ssh -S ./m $H cat <$FILE | sha256sum | cut -c1-64; scp -q -o ControlPath=./m $H:/etc/hostname .; cat hostname; ssh -S ./m -O exit $H 2>/dev/null; echo $?`},
	{name: "the agent, forwarded and not", script: `ssh -n -A $H 'ssh-add -l | grep -c mine; ssh-add -L' | cut -c1-80; ssh -n -a $H 'echo "<$SSH_AUTH_SOCK>"'; ssh -n $H 'echo "<$SSH_AUTH_SOCK>"'`},
	{name: "VS Code's way in", script: `printf 'echo begun; uname -s; exit 0\n' | ssh -T -D 127.0.0.1:$P $H bash`},
	{name: "an editor's two windows, a pause, and one opened again", do: (*matrix).windows},
	{name: "X11", do: (*matrix).x11},
	{name: "keep-alives", script: `ssh -n -o ServerAliveInterval=1 -o ServerAliveCountMax=2 $H 'sleep 3; echo there'`},
	{name: "ten at once", script: `for i in 0 1 2 3 4 5 6 7 8 9; do ssh -n $H "echo $i" >out$i 2>&1 & done; wait; cat out*`},
	{name: "ansible, to several", do: (*matrix).ansible},
}

// tree makes a folder of files with modes and times.
const tree = `mkdir -p tree/sub; printf 'a\n' >tree/sub/a; printf b >tree/sub/b; : >tree/empty; head -c 70000 $FILE >tree/'with space'; printf '#!/bin/sh\n' >tree/run.sh; chmod 750 tree/run.sh; touch -d @1000000000 tree/* tree/sub/* tree; cp tree/run.sh back.sh
`

// matrix is the stage, and what the rows need.
type matrix struct {
	*world
	t    *testing.T
	file string
	sum  string

	codes, few string // see drawCodes

	agent    string // the socket of everybody's own agent
	identity *age.X25519Identity
}

// TestEverythingThatSSHDoes compares the columns with plain ssh, row by row.
func TestEverythingThatSSHDoes(t *testing.T) {
	needs(t)
	t.Parallel()
	w := newWorld(t)
	w.raise(t.Context(), "gateways=1", "forwarding=yes", "web-1", "web-2")
	m := newMatrix(t, w)
	dice := sample.Dice(t)
	m.codes, m.few = drawCodes(dice)
	plain := m.plain()
	want := map[string]outcome{}
	alice := m.enter(1)
	known := map[string]bool{}
	for _, name := range []string{"relay", "record"} {
		if name == "record" {
			known = m.sessions()
			m.beRecorded()
		}
		alice.name = name
		t.Run(name, func(t *testing.T) {
			for _, r := range drawRows(dice, name) {
				t.Run(r.name, func(t *testing.T) {
					m.t = t
					if _, done := want[r.name]; !done {
						want[r.name] = m.try(r, plain)
					}
					m.compare(r, want[r.name], m.try(r, alice))
				})
			}
		})
		m.t = t
	}
	if m.stored(known); !t.Failed() { // every session of that column, whole
		t.Run("recordings", func(t *testing.T) { m.whatWasSeen(t, alice) })
	}
}

// beRecorded has everything recorded from now on.
func (m *matrix) beRecorded() {
	m.t.Helper()
	identity, err := age.GenerateX25519Identity()
	m.must(err)
	m.identity = identity
	required, recipients := store.RecordingRequired, []string{identity.Recipient().String()}
	m.must(m.stage.Client().Send(m.t.Context(), "PATCH", "/v1/projects/web", api.ProjectPatch{
		RecordPatch: api.RecordPatch{Recording: &required, Recipients: &recipients}}, nil))
	m.come()
}

func newMatrix(t *testing.T, w *world) *matrix {
	m := &matrix{world: w, t: t, file: filepath.Join(t.TempDir(), "file.bin")}
	f, err := os.Create(m.file)
	w.must(err)
	defer f.Close()
	hash := sha256.New()
	_, err = io.CopyN(io.MultiWriter(f, hash), rand.NewChaCha8([32]byte{1}), fileBytes())
	w.must(err)
	m.sum = hex.EncodeToString(hash.Sum(nil))
	m.startAgent()
	return m
}

// enter signs alice in, who has an agent of her own, and waits until she can come to all
// servers.
func (m *matrix) enter(n int) column {
	m.t.Helper()
	alice := m.people["alice"]
	m.signIn(m.t.Context(), alice, "SSH_AUTH_SOCK="+m.agent)
	m.come()
	return column{person: alice, port: firstPort() + 50*n}
}

// come waits until alice comes to all servers.
func (m *matrix) come() {
	m.t.Helper()
	alice := m.people["alice"]
	for _, server := range m.servers {
		deadline := time.Now().Add(longest)
		for {
			out, err := m.command(m.t.Context(), alice, alice.Home, "ssh", "-n", server, "true").CombinedOutput()
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				m.t.Fatalf("alice does not come to %s: %v %s", server, err, out)
			}
			time.Sleep(200 * time.Millisecond)
		}
	}
}

// startAgent is the agent of everybody's own, with one key.
func (m *matrix) startAgent() {
	m.t.Helper()
	m.agent = filepath.Join(m.people["alice"].Home, "own.sock")
	key := filepath.Join(m.people["alice"].Home, "own.key")
	cmd := exec.Command("ssh-agent", "-D", "-a", m.agent)
	m.must(cmd.Start())
	m.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	m.must(exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "mine", "-f", key).Run())
	for deadline := time.Now().Add(longest); ; time.Sleep(50 * time.Millisecond) {
		add := exec.Command("ssh-add", "-q", key)
		add.Env = append(os.Environ(), "SSH_AUTH_SOCK="+m.agent)
		out, err := add.CombinedOutput()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("ssh-add: %v %s", err, out)
		}
	}
}

// plain is somebody with an account and a key on the same servers, as without Cardea.
func (m *matrix) plain() column {
	m.t.Helper()
	ctx := m.t.Context()
	m.must(m.laptop("plain", m.people["alice"]))
	p := m.people["plain"]
	dir := filepath.Join(p.Home, ".ssh")
	m.must(os.MkdirAll(dir, 0o700))
	key := filepath.Join(dir, "id_ed25519")
	m.must(exec.CommandContext(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).Run())
	public, err := os.ReadFile(key + ".pub")
	m.must(err)
	var config, known strings.Builder
	for _, name := range m.servers {
		h, err := m.host(name)
		m.must(err)
		for _, argv := range [][]string{
			{"/usr/sbin/useradd", "-m", "-s", "/bin/bash", "-p", "*", "plain"},
			{"/usr/bin/install", "-d", "-m", "700", "-o", "plain", "-g", "plain", "/home/plain/.ssh"},
		} {
			_, err = h.Run(ctx, argv[0], argv[1:]...)
			m.must(err)
		}
		m.must(h.WriteFile("/home/plain/.ssh/authorized_keys", public, 0o644))
		hostKey, err := h.Run(ctx, "/usr/bin/cat", "/etc/ssh/ssh_host_ed25519_key.pub")
		m.must(err)
		fmt.Fprintf(&config, "Host %s\n HostName %s\n HostKeyAlias %s\n User plain\n IdentityFile %s\n IdentitiesOnly yes\n HostKeyAlgorithms ssh-ed25519\n UserKnownHostsFile %s/known_hosts\n",
			name, m.local.Addr(name), name, key, dir)
		fmt.Fprintf(&known, "%s %s\n", name, strings.TrimSpace(string(hostKey)))
	}
	m.must(os.WriteFile(filepath.Join(dir, "config"), []byte(config.String()), 0o600))
	m.must(os.WriteFile(filepath.Join(dir, "known_hosts"), []byte(known.String()), 0o600))
	return column{name: "plain", person: p, port: firstPort()}
}

// firstPort is the first of a hundred of this process, below those that the kernel gives
// to connections (ip_local_port_range begins at 32768): one of them would be in the way.
func firstPort() int { return 20000 + os.Getpid()%126*100 }

// try does a row in a fresh folder.
func (m *matrix) try(r row, c column) outcome {
	m.t.Helper()
	dir, err := os.MkdirTemp(c.person.Home, "m")
	m.must(err)
	defer os.RemoveAll(dir)
	if r.do != nil {
		return r.do(m, c, dir)
	}
	return m.shell(c, dir, r.script)
}

// shell runs a script as the person of a column.
func (m *matrix) shell(c column, dir, script string) outcome {
	m.t.Helper()
	patience := longest
	if os.Getenv(matrixVariable) != "" {
		patience = 20 * time.Minute
	}
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	defer cancel()
	cmd := m.command(ctx, c.person, dir, "bash", "-c", script)
	cmd.Env = append(cmd.Env, m.variables(c)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); cmd.ProcessState == nil {
		m.t.Fatal(err)
	}
	return m.outcome(c, out.String(), errs.String(), code(cmd))
}

func (m *matrix) variables(c column) []string {
	return []string{"H=web-1", "H2=web-2", "FILE=" + m.file, "SUM=" + m.sum, "CODES=" + m.codes, "FEW=" + m.few, "REKEY=" + rekeyLimit(), "P=" + strconv.Itoa(c.port), "TERM=xterm", "LC_ALL=C.UTF-8", "SSH_AUTH_SOCK=" + m.agent}
}

// told is what everybody is told who is recorded.
const told = "cardea: this session is recorded"

// outcome takes out what must differ: addresses, who it was, and that he was told.
func (m *matrix) outcome(c column, out, errs string, code int) outcome {
	replace := []string{"/home/plain/", "/home/alice/", told + "\r\n", "", told + "\n", ""}
	for _, name := range m.servers {
		replace = append(replace, m.local.Addr(name).String(), name)
	}
	clean := strings.NewReplacer(replace...).Replace
	return outcome{clean(out), clean(errs), code}
}

func (m *matrix) compare(r row, want, got outcome) {
	m.t.Helper()
	if r.blind {
		want.Stderr, got.Stderr = "", ""
	}
	if d := cmp.Diff(want, got); d != "" {
		m.t.Errorf("not as plain ssh (-plain +this):\n%s", d)
	}
	if want.Stdout == "" && want.Stderr == "" {
		m.t.Errorf("plain ssh itself said nothing: %+v", want)
	}
}

// resized has a program there say the size of its terminal, before and after it changes.
func (m *matrix) resized(c column, dir string) outcome {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), longest)
	defer cancel()
	cmd := m.command(ctx, c.person, dir, "ssh", "-t", "web-1", `trap 'stty size; echo resized' WINCH; stty size; echo ready; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do read -t 1 x && break; done; echo "read $x"; exit 9`)
	cmd.Env = append(cmd.Env, m.variables(c)...)
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 31, Cols: 97})
	m.must(err)
	defer terminal.Close()
	var said strings.Builder
	buf := make([]byte, 4096)
	until := func(word string) {
		for !strings.Contains(said.String(), word) {
			n, err := terminal.Read(buf)
			said.Write(buf[:n])
			if err != nil {
				if word != "" {
					m.t.Errorf("before %q: %v, after %q", word, err, said.String())
				}
				return
			}
		}
	}
	until("ready")
	m.must(pty.Setsize(terminal, &pty.Winsize{Rows: 42, Cols: 123}))
	until("resized")
	_, err = terminal.WriteString("hello\n")
	m.must(err)
	for {
		n, err := terminal.Read(buf)
		said.Write(buf[:n])
		if err != nil {
			break
		}
	}
	_ = cmd.Wait()
	return m.outcome(c, said.String(), "", code(cmd))
}

// remoteForward has something there come to a listener here.
func (m *matrix) remoteForward(c column, dir string) outcome {
	m.t.Helper()
	here, err := net.Listen("tcp", "127.0.0.1:0")
	m.must(err)
	defer here.Close()
	go func() {
		for {
			conn, err := here.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(conn, conn)
			conn.Close()
		}
	}()
	return m.shell(c, dir, fmt.Sprintf(`ssh -n -R 127.0.0.1:$P:%s $H "exec 3<>/dev/tcp/127.0.0.1/$P; echo round trip >&3; head -n 1 <&3"
ssh -n -o ExitOnForwardFailure=yes -R 127.0.0.1:22:%s $H true 2>/dev/null; echo $?`, here.Addr(), here.Addr()))
}

// socks asks ssh for a connection to the sshd behind it (RFC 1928).
func (m *matrix) socks(c column, dir string) outcome {
	m.t.Helper()
	begun := m.shell(c, dir, `ssh -n -M -S ./m -f -N -D 127.0.0.1:$P $H; echo $?`)
	defer m.shell(c, dir, `ssh -S ./m -O exit $H`)
	for _, port := range []byte{22, 1} {
		answer, err := m.socksTo(c, port)
		begun.Stdout += fmt.Sprintf("%q %v\n", answer, err)
	}
	return begun
}

func (m *matrix) socksTo(c column, port byte) (string, error) {
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", c.port), longest)
	if err != nil {
		return "", errors.New("no proxy")
	}
	defer conn.Close()
	m.must(conn.SetDeadline(time.Now().Add(longest)))
	if _, err := conn.Write([]byte{5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1, 0, port}); err != nil {
		return "", errors.New("cannot write")
	}
	answer := make([]byte, 2+10+8)
	n, err := io.ReadFull(conn, answer)
	if err != nil {
		return string(answer[:n]), errors.New("the end")
	}
	return string(answer[:n]), nil
}

// ansible comes to several servers by OpenSSH, with pipelining and masters of its own.
func (m *matrix) ansible(c column, dir string) outcome {
	m.t.Helper()
	if os.Getenv(matrixVariable) == "" {
		m.t.Skipf("SKIPPED: ansible takes as long as all the rest; set %s=1 to have it", matrixVariable)
	}
	if _, err := exec.LookPath("ansible"); err != nil {
		m.t.Skip("SKIPPED: there is no ansible on this machine; type: apt-get install ansible-core")
	}
	var hosts strings.Builder
	for i := range 20 {
		fmt.Fprintf(&hosts, "h%d ansible_host=web-%d\n", i, 1+i%2)
	}
	m.must(os.WriteFile(filepath.Join(dir, "hosts"), []byte(hosts.String()), 0o600))
	return m.shell(c, dir, `export ANSIBLE_HOST_KEY_CHECKING=True ANSIBLE_NOCOLOR=1 ANSIBLE_PIPELINING=True ANSIBLE_SSH_ARGS="-F $HOME/.ssh/config -o ControlMaster=auto -o ControlPersist=10s" ANSIBLE_SSH_CONTROL_PATH_DIR=$PWD/c ANSIBLE_LOCAL_TEMP=$PWD/t ANSIBLE_DEPRECATION_WARNINGS=False
ansible -i hosts all -f 5 -m ping 2>/dev/null | grep -c '"ping": "pong"'; ansible -i hosts h0,h1 -m copy -a "src=$FILE dest=.ansible-copy" 2>/dev/null | grep -o '"checksum": "[^"]*"' | sort; ansible -i hosts h0,h1 -m command -a 'rm .ansible-copy' >/dev/null 2>&1; for m in c/*; do ssh -S $m -O exit x 2>/dev/null; done; true`)
}
