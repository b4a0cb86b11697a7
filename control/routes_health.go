package control

import "net/http"

// healthRoutes are for balancers and service managers. No limit holds for
// them: a busy instance is not a sick one.
func healthRoutes(t *table) {
	s := t.server
	s.health.Ready("store", s.ready)
	mux := http.NewServeMux()
	s.health.Register(mux)
	for _, r := range []route{
		{Method: "GET", Path: "/healthz", Access: Public, Doc: "Whether the process works"},
		{Method: "GET", Path: "/readyz", Access: Public, Doc: "Whether to send calls here"},
	} {
		t.routes = append(t.routes, r)
		t.mux.Handle(r.String(), mux)
	}
}
