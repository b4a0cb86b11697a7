//go:build linux

package stage

import (
	"context"
	"fmt"
	"net/http"

	"github.com/cardea-ssh/cardea/api"
)

// Servers makes machines with a real sshd. Only this part needs root.
type Servers interface {
	// Egress is the address from which programs of this machine reach the servers.
	Egress(ctx context.Context) (string, error)
	// Make makes a machine and returns its address; control is the URL that must
	// mean the control plane inside, too.
	Make(ctx context.Context, name, control string) (address string, err error)
	// Enrol gives the machine its enrolment token and starts its server agent.
	Enrol(ctx context.Context, name, token string) error
	// Close removes all of them.
	Close() error
}

// AddServer makes a machine, enrols it and waits until its agent has confirmed
// a desired state.
func (s *Stage) AddServer(ctx context.Context, project, name string, labels map[string]string) error {
	address, err := s.servers.Make(ctx, name, s.URL)
	if err != nil {
		return err
	}
	secret, err := s.token(ctx, api.NewEnrolmentToken{
		Kind: "server", Project: project, Name: name, Address: address + ":22", Labels: labels,
	})
	if err != nil {
		return err
	}
	if err := s.servers.Enrol(ctx, name, secret); err != nil {
		return err
	}
	return s.Confirmed(ctx, project, name)
}

// Confirmed waits until the server has in force what the project demands now.
func (s *Stage) Confirmed(ctx context.Context, project, name string) error {
	return until(ctx, "wait for the server agent of "+name, func() (bool, error) {
		var srv api.Server
		if err := s.client.Send(ctx, http.MethodGet, "/v1/servers/"+name, nil, &srv); err != nil {
			return false, err
		}
		if len(srv.Problems) > 0 {
			return false, fmt.Errorf("%s reports: %s", name, srv.Problems[0])
		}
		return srv.Confirmed.Counter > 0, nil
	})
}
