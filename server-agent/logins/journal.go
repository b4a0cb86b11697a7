package logins

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/atomicfile"
)

const journalctl = "/usr/bin/journalctl"

// Files in the agent's folder that remember how far was read.
const (
	AuthLogPosition = "authlog-position.json"
	JournalPosition = "journal-cursor"
)

// Journal follows systemd's journal by journalctl. Fields that begin with an
// underscore are the kernel's word (systemd.journal-fields(7)).
type Journal struct {
	// Position is the file that remembers the cursor.
	Position string

	mu      sync.Mutex
	tracker Tracker // guarded by mu
}

// entry is what matters of one line of `journalctl -o json`.
type entry struct {
	Cursor    string `json:"__CURSOR"`
	Micros    string `json:"__REALTIME_TIMESTAMP"`
	UID       string `json:"_UID"`
	PID       string `json:"_PID"`
	Comm      string `json:"_COMM"`
	Exe       string `json:"_EXE"`
	Message   any    `json:"MESSAGE"` // a list of bytes if it is not UTF-8
	Transport string `json:"_TRANSPORT"`
}

// Follow calls tell for every event until ctx ends or journalctl does; then it
// says why, and may be called again.
func (j *Journal) Follow(ctx context.Context, tell func(api.AgentEvent)) error {
	// root's alone: any user may call his program sshd and write what he likes.
	args := []string{"--follow", "--output=json", "--no-pager", "--quiet", "--all", "_UID=0", "_COMM=sshd", "+", "_UID=0", "_COMM=sshd-session"}
	if cursor := j.load(); cursor != "" {
		args = append([]string{"--after-cursor=" + cursor, "--lines=all"}, args...)
	} else {
		args = append([]string{"--lines=0"}, args...)
	}
	cmd := exec.CommandContext(ctx, journalctl, args...)
	cmd.Env, cmd.Dir = []string{}, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // should we be killed, its next line ends it
	cmd.WaitDelay = time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("follow the journal: %w", err)
	}
	over := make(chan struct{})
	var counting sync.WaitGroup
	counting.Go(func() { j.count(over, tell) })
	read := eachLine(out, func(raw []byte) { j.line(raw, tell) })
	close(over)
	counting.Wait()
	waited := cmd.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("journalctl ended: %w", errors.Join(read, waited, errors.New("it should go on for ever")))
}

// eachLine calls f with each line of at most maxEntry bytes. A longer one is
// left out and no error: an entry that ended the reading would be met again by
// every later one, and so hide all logins after it for ever.
func eachLine(r io.Reader, f func([]byte)) error {
	in, long := bufio.NewReaderSize(r, maxEntry), false
	for {
		line, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			long = true
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case long:
			long = false // this was its end
		default:
			f(line)
		}
	}
}

func (j *Journal) line(raw []byte, tell func(api.AgentEvent)) {
	r, cursor, ok := parseEntry(raw)
	if !ok {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if e, ok := j.tracker.see(r, time.Now()); ok {
		tell(e)
		j.save(cursor)
	}
}

// count tells how many refusals were not told, whether or not a line comes.
func (j *Journal) count(over <-chan struct{}, tell func(api.AgentEvent)) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for end := false; !end; {
		select {
		case <-tick.C:
		case <-over:
			end = true
		}
		j.mu.Lock()
		if e, ok := j.tracker.refusals.count(time.Now(), end); ok {
			tell(e)
		}
		j.mu.Unlock()
	}
}

// parseEntry takes entries of root's sshd alone.
func parseEntry(raw []byte) (r record, cursor string, ok bool) {
	var e entry
	if err := json.Unmarshal(raw, &e); err != nil {
		return r, "", false
	}
	message, isText := e.Message.(string)
	pid, err := strconv.Atoi(e.PID)
	micros, err2 := strconv.ParseInt(e.Micros, 10, 64)
	trusted := e.UID == "0" && isSSHD(e.Comm) && (e.Exe == "" || strings.HasSuffix(e.Exe, "/"+e.Comm))
	if !isText || err != nil || err2 != nil || pid < 1 || !trusted {
		return r, "", false
	}
	return record{at: time.UnixMicro(micros), program: e.Comm, pid: pid, message: message}, e.Cursor, true
}

func (j *Journal) load() string {
	raw, err := os.ReadFile(j.Position)
	if err != nil || len(raw) > 1024 || strings.ContainsAny(string(raw), "\x00\n") {
		return ""
	}
	return string(raw)
}

// save is best effort: a lost cursor tells some logins twice.
func (j *Journal) save(cursor string) {
	if cursor != "" {
		atomicfile.Write(j.Position, []byte(cursor), atomicfile.Options{Mode: 0o600})
	}
}

// Source is where logins are read from.
type Source interface {
	Follow(ctx context.Context, tell func(api.AgentEvent)) error
	// Watch has seen called for every login, with the process of sshd's whose it is.
	// Call it before Follow.
	Watch(seen func(pid int, e api.AgentEvent))
}

// Watch implements Source.
func (j *Journal) Watch(seen func(pid int, e api.AgentEvent)) { j.tracker.Seen = seen }

// Watch implements Source.
func (a *AuthLog) Watch(seen func(pid int, e api.AgentEvent)) { a.tracker.Seen = seen }

// Find picks the source of this host: the log that was configured, else the
// journal where systemd runs the host, else the usual auth log.
func Find(configured, stateDir string) Source {
	if configured != "" {
		return &AuthLog{Path: configured, Position: stateDir + "/" + AuthLogPosition}
	}
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		if _, err := os.Stat(journalctl); err == nil {
			return &Journal{Position: stateDir + "/" + JournalPosition}
		}
	}
	path := "/var/log/auth.log"
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat("/var/log/secure"); err == nil {
			path = "/var/log/secure"
		}
	}
	return &AuthLog{Path: path, Position: stateDir + "/" + AuthLogPosition}
}
