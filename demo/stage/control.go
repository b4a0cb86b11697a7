//go:build linux

package stage

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/cardea-ssh/cardea/api"
)

// controlEnv configures the control plane.
func (s *Stage) controlEnv() ([]string, error) {
	dir, err := s.dir("control")
	if err != nil {
		return nil, err
	}
	database := s.opt.Database
	if database == "" {
		database = filepath.Join(dir, "cardea.db")
	}
	return append([]string{
		"CARDEA_DATABASE=" + database,
		"CARDEA_KEY_FILE=" + filepath.Join(dir, "kek"),
		fmt.Sprintf("CARDEA_LISTEN=127.0.0.1:%d", s.opt.Port),
		"CARDEA_PUBLIC_URL=" + s.URL,
	}, s.opt.Control...), nil
}

// begunFiles are what `cardea-control init` leaves in the folder of a stage, with SQLite,
// and what it was given.
var begunFiles = []string{passwordFile, "control/cardea.db", "control/kek"}

const passwordFile = "admin-password"

// Begin initialises a control plane in opt.Dir and no more, for the Begun of other stages.
func Begin(ctx context.Context, opt Options) error {
	s := &Stage{opt: opt, URL: "http://127.0.0.1"}
	return s.initControl(ctx)
}

// copyControl takes a control plane that was initialised before.
func (s *Stage) copyControl() error {
	if _, err := s.dir("control"); err != nil {
		return err
	}
	for _, name := range begunFiles {
		data, err := os.ReadFile(filepath.Join(s.opt.Begun, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(s.opt.Dir, name), data, 0o600)
		}
		if err != nil {
			return err
		}
		if name == passwordFile {
			s.passwd = strings.TrimSpace(string(data))
		}
	}
	return nil
}

func (s *Stage) initControl(ctx context.Context) error {
	if s.opt.Begun != "" && s.opt.Database == "" {
		return s.copyControl()
	}
	env, err := s.controlEnv()
	if err != nil {
		return err
	}
	s.passwd = rand.Text()
	file := filepath.Join(s.opt.Dir, passwordFile)
	if err := os.WriteFile(file, []byte(s.passwd+"\n"), 0o600); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, s.bin("cardea-control"), "init", "--team", "demo", "--admin", "admin", "--admin-password-file", file)
	cmd.Env = append(s.environment(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cardea-control init: %w: %s", err, out)
	}
	return nil
}

// StartControl starts the control plane and waits until it is ready.
func (s *Stage) StartControl(ctx context.Context) error {
	env, err := s.controlEnv()
	if err != nil {
		return err
	}
	if s.control, err = s.start("control", env, s.bin("cardea-control"), "serve"); err != nil {
		return err
	}
	return until(ctx, "wait for the control plane", func() (bool, error) {
		if err := s.control.alive(); err != nil {
			return false, err
		}
		return ready(ctx, s.URL+"/readyz")
	})
}

// StopControl ends it the polite way; KillControl does not ask.
func (s *Stage) StopControl() error { return s.control.stop() }

// KillControl ends the control plane as a crash does.
func (s *Stage) KillControl() error { return s.control.kill() }

// ControlPID is the process of the control plane, for measurements.
func (s *Stage) ControlPID() int { return s.control.cmd.Process.Pid }

// AddUser makes a user and the person who uses it, not yet signed in.
func (s *Stage) AddUser(ctx context.Context, name string) (*Person, error) {
	password := rand.Text()
	if err := s.client.Send(ctx, http.MethodPost, "/v1/users", api.NewUser{Name: name, Password: password}, nil); err != nil {
		return nil, fmt.Errorf("make user %s: %w", name, err)
	}
	return s.person(name, password)
}

// Access lets a group of that name with these members into all servers of the
// project.
func (s *Stage) Access(ctx context.Context, project, group, role string, members ...string) error {
	if err := s.client.Send(ctx, http.MethodPost, "/v1/groups", api.NewGroup{Name: group}, nil); err != nil {
		return fmt.Errorf("make group %s: %w", group, err)
	}
	for _, m := range members {
		if err := s.client.Send(ctx, http.MethodPut, "/v1/groups/"+group+"/members/"+m, api.NewMember{}, nil); err != nil {
			return fmt.Errorf("put %s into %s: %w", m, group, err)
		}
	}
	grant := api.NewGrant{Group: group, Role: role}
	if err := s.client.Send(ctx, http.MethodPost, "/v1/projects/"+project+"/grants", grant, nil); err != nil {
		return fmt.Errorf("grant %s access to %s: %w", group, project, err)
	}
	return nil
}

// AddProject makes a project.
func (s *Stage) AddProject(ctx context.Context, name string, set api.ProjectSettings) error {
	if err := s.client.Send(ctx, http.MethodPost, "/v1/projects", api.NewProject{Name: name, ProjectSettings: set}, nil); err != nil {
		return fmt.Errorf("make project %s: %w", name, err)
	}
	return nil
}

// token makes an enrolment token and returns its secret.
func (s *Stage) token(ctx context.Context, t api.NewEnrolmentToken) (string, error) {
	var made api.EnrolmentToken
	if err := s.client.Send(ctx, http.MethodPost, "/v1/enrolment-tokens", t, &made); err != nil {
		return "", fmt.Errorf("make an enrolment token for %s: %w", t.Name, err)
	}
	return made.Secret, nil
}
