package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/demo/stage"
	"github.com/cardea-ssh/cardea/internal/browse"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/internal/term"
)

// walk prints the journey.
type walk struct {
	out   io.Writer
	began time.Time
	stage *stage.Stage
	alice *stage.Person
}

func (w *walk) title(s string) { fmt.Fprintf(w.out, "\n%s\n", s) }

// step prints what is done and how long it took.
func (w *walk) step(what string, do func() error) error {
	began := time.Now()
	err := do()
	mark := "ok"
	if err != nil {
		mark = "FAILED"
	}
	fmt.Fprintf(w.out, "  %-58s %6.2f s  %s\n", what, time.Since(began).Seconds(), mark)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// say prints a command and what it answered, as a terminal shows it.
func (w *walk) say(who, command string, r stage.Result) {
	fmt.Fprintf(w.out, "\n  %s$ %s\n", who, command)
	for line := range strings.Lines(r.Stdout + r.Stderr) {
		fmt.Fprintf(w.out, "    %s\n", ident.Text(strings.TrimRight(line, "\r\n")))
	}
	fmt.Fprintf(w.out, "    (exit code %d, %.2f s)\n", r.Code, r.Took.Seconds())
}

// journey is everything the demonstration shows; it ends at the first thing
// that is not as it should be.
func (w *walk) journey(ctx context.Context) error {
	for _, part := range []func(context.Context) error{w.people, w.machines, w.signIn, w.shell, w.files, w.refused, w.failOver, w.recorded, w.audit} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) people(ctx context.Context) error {
	w.title("Who may go where")
	err := w.step("project web: every connection through a gateway", func() error {
		return w.stage.AddProject(ctx, "web", api.ProjectSettings{CertificateSeconds: 180, Gateway: "required"})
	})
	if err != nil {
		return err
	}
	return w.step("user alice, group engineers, a grant with sudo", func() (err error) {
		if w.alice, err = w.stage.AddUser(ctx, "alice"); err != nil {
			return err
		}
		return w.stage.Access(ctx, "web", "engineers", "admin", "alice")
	})
}

func (w *walk) machines(ctx context.Context) error {
	w.title("Servers, each with its own sshd and server agent")
	for _, s := range []struct{ name, role string }{{"web-1", "web"}, {"web-2", "web"}, {"db-1", "db"}} {
		err := w.step("boot "+s.name+", enrol it, wait for its accounts", func() error {
			return w.stage.AddServer(ctx, "web", s.name, map[string]string{"role": s.role})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) signIn(ctx context.Context) error {
	w.title("Alice")
	err := w.step("cardea login: password and confirmation in the browser", func() error { return w.alice.SignIn(ctx) })
	if err != nil {
		return err
	}
	r := w.alice.Run(ctx, "cardea", "ls")
	w.say("alice", "cardea ls", r)
	return want(r, 0, "web-1")
}

func (w *walk) shell(ctx context.Context) error {
	r := w.alice.SSH(ctx, "ssh", "web-1", "id")
	w.say("alice", "ssh web-1 id", r)
	if err := want(r, 0, "(alice)"); err != nil {
		return err
	}
	r = w.alice.SSH(ctx, "ssh", "web-2", "sudo", "whoami")
	w.say("alice", "ssh web-2 sudo whoami", r)
	return want(r, 0, "root")
}

func (w *walk) files(ctx context.Context) error {
	data := make([]byte, 1<<20)
	rand.Read(data)
	file, back := filepath.Join(w.alice.Home, "notes"), filepath.Join(w.alice.Home, "back")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return err
	}
	r := w.alice.SSH(ctx, "scp", "-q", file, "db-1:notes")
	w.say("alice", "scp notes db-1:notes", r)
	if err := want(r, 0, ""); err != nil {
		return err
	}
	r = w.alice.SSH(ctx, "sftp", "-q", "db-1:notes", back)
	w.say("alice", "sftp db-1:notes back", r)
	if err := want(r, 0, ""); err != nil {
		return err
	}
	got, err := os.ReadFile(back)
	if err == nil && !bytes.Equal(got, data) {
		err = errors.New("the file that came back is another")
	}
	return err
}

func (w *walk) refused(ctx context.Context) error {
	w.title("Bob, who has no grant")
	var bob *stage.Person
	err := w.step("cardea login", func() (err error) {
		if bob, err = w.stage.AddUser(ctx, "bob"); err != nil {
			return err
		}
		return bob.SignIn(ctx)
	})
	if err != nil {
		return err
	}
	r := bob.Run(ctx, "cardea", "ssh", "web-1", "id")
	w.say("bob", "cardea ssh web-1 id", r)
	if r.Code == 0 || strings.Contains(r.Stdout, "uid=") {
		return errors.New("bob got in")
	}
	if !strings.Contains(r.Stderr, "cardea: ") {
		return errors.New("bob was not told why")
	}
	return nil
}

// failOver kills each gateway in turn, so that the other must carry.
func (w *walk) failOver(ctx context.Context) error {
	w.title("A gateway dies")
	for _, g := range w.stage.Gateways {
		if err := w.step("kill -9 "+g.Name, g.Kill); err != nil {
			return err
		}
		r := w.alice.SSH(ctx, "ssh", "web-1", "hostname")
		w.say("alice", "ssh web-1 hostname", r)
		if err := want(r, 0, "web-1"); err != nil {
			return err
		}
		if err := w.step("start "+g.Name+" again", func() error { return g.Start(ctx) }); err != nil {
			return err
		}
	}
	return nil
}

// recorded has the project's sessions recorded, and the auditor see one.
func (w *walk) recorded(ctx context.Context) error {
	w.title("A recorded session")
	key := filepath.Join(w.stage.Admin.Home, "auditor.key")
	err := w.step("a key of age, and from now on sessions are recorded to it", func() error {
		auditor, err := age.GenerateX25519Identity()
		if err != nil {
			return err
		}
		if err := os.WriteFile(key, []byte(auditor.String()+"\n"), 0o600); err != nil {
			return err
		}
		_, err = w.stage.Admin.Must(ctx, "cardea", "admin", "projects", "update", "web", "--recording", "required", "--recording-recipient", auditor.Recipient().String())
		return err
	})
	if err != nil {
		return err
	}
	r := w.alice.Run(ctx, "cardea", "ssh", "web-1", "-tt", "sudo head -n 1 /etc/shadow")
	w.say("alice", "cardea ssh web-1 -t sudo head -n 1 /etc/shadow", r)
	if err := want(r, 0, "root:"); err != nil {
		return err
	}
	var session string
	err = w.step("wait until its gateway has stored it", func() (err error) {
		session, err = w.stored(ctx)
		return err
	})
	if err != nil {
		return err
	}
	r = w.stage.Admin.Run(ctx, "cardea", "sessions", "verify", session)
	w.say("admin", "cardea sessions verify "+session, r)
	if err := want(r, 0, "whole"); err != nil {
		return err
	}
	r = w.stage.Admin.Run(ctx, "cardea", "sessions", "play", "-i", key, session)
	w.say("admin", "cardea sessions play -i auditor.key "+session, r)
	if err := want(r, 0, "root:"); err != nil {
		return err
	}
	_, err = w.stage.Admin.Must(ctx, "cardea", "admin", "projects", "update", "web", "--recording", "off")
	return err
}

// stored is the id of the newest session whose recording can be read.
func (w *walk) stored(ctx context.Context) (string, error) {
	for {
		out, err := w.stage.Admin.Must(ctx, "cardea", "sessions", "ls", "-o", "json")
		if err != nil {
			return "", err
		}
		var list []api.Recording
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			return "", err
		}
		for _, r := range list {
			if r.State == api.RecordingStored {
				return r.Session, nil
			}
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(time.Second / 2):
		}
	}
}

func (w *walk) audit(ctx context.Context) error {
	w.title("What the administrator sees")
	r := w.stage.Admin.Run(ctx, "cardea", "admin", "audit")
	if err := want(r, 0, "connect"); err != nil {
		return err
	}
	const last = 12
	lines := strings.SplitAfter(strings.TrimRight(r.Stdout, "\n"), "\n")
	r.Stdout = lines[0] + strings.Join(lines[max(1, len(lines)-last):], "") + "\n"
	w.say("admin", "cardea admin audit    # its heading and its last lines", r)
	return nil
}

func want(r stage.Result, code int, text string) error {
	if r.Code != code {
		return fmt.Errorf("exit code %d, want %d: %s", r.Code, code, strings.TrimSpace(r.Stderr))
	}
	if !strings.Contains(r.Stdout, text) {
		return fmt.Errorf("the answer lacks %q: %s", text, strings.TrimSpace(r.Stdout))
	}
	return nil
}

// envFile is what a shell reads to be in the demonstration. A browser wants the
// person's own home, where its profile is; where there is no screen, the walk's own
// browser signs in.
func envFile(bin, self, name, password string, variables []string) string {
	return "if [ -z \"$DISPLAY$WAYLAND_DISPLAY\" ]; then\n" +
		"export CARDEA_BROWSER='" + self + " " + asBrowser + "' " + browse.NameVariable + "=" + name + " " + browse.PasswordVariable + "=" + password + "\n" +
		"elif command -v xdg-open >/dev/null; then\nexport CARDEA_BROWSER=\"env HOME=$HOME xdg-open\"\nfi\n" +
		"export PATH='" + bin + "':\"$PATH\"\nexport '" + strings.Join(variables, "' '") + "'\n"
}

// stay keeps the team up for a person at a terminal, until Ctrl-C.
func (w *walk) stay(ctx context.Context, bin string) error {
	if !term.IsTerminal(os.Stdin) || !term.IsTerminal(os.Stdout) {
		return nil
	}
	home := filepath.Join(filepath.Dir(w.alice.Home), "you")
	variables := []string{
		"HOME=" + home, "XDG_CONFIG_HOME=" + home, "XDG_STATE_HOME=" + home + "/state",
		"XDG_RUNTIME_DIR=" + home + "/run", "CARDEA_NO_KEYRING=1",
	}
	if err := os.MkdirAll(filepath.Join(home, "run"), 0o700); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	file, admin := filepath.Join(home, "env"), filepath.Join(w.stage.Admin.Home, "env")
	env := envFile(bin, self, w.alice.Name, w.alice.Password, variables)
	if err := os.WriteFile(file, []byte(env), 0o600); err != nil {
		return err
	}
	env = envFile(bin, self, w.stage.Admin.Name, w.stage.Admin.Password, w.stage.Admin.Own())
	if err := os.WriteFile(admin, []byte(env), 0o600); err != nil {
		return err
	}
	fmt.Fprintf(w.out, `
It stays up until you press Ctrl-C. In another terminal, which the first line gives a HOME of this demonstration:

  . %s
  cardea login %s    # in your browser: alice, password %s; without a screen it signs in by itself
  cardea ls
  cardea ssh web-1
  cardea why db-1

and for plain ssh:

  cardea ssh-config --install
  ssh -F ~/.ssh/config web-1

In a third one the first line makes you the administrator, who is signed in already:

  . %s
  cardea admin --help
  cardea sessions ls
  cardea sessions play -i ~/auditor.key gse_…    # one that it lists
`, file, w.stage.URL, w.alice.Password, admin)
	<-ctx.Done()
	fmt.Fprintln(w.out, "\ncleaning up")
	// Their local agent was started in the background; it may be gone already.
	stop := exec.Command(filepath.Join(bin, "cardea"), "agent", "stop")
	stop.Env = append(os.Environ(), variables...)
	_ = stop.Run()
	return nil
}
