package api

import "time"

// TouchRequest is POST /v1/touch: a person showed in the browser once more who he is, to
// go on in one project. The code comes as that of a sign-in does, from
// GET /oauth/authorize with project=NAME, and is good for nothing else.
type TouchRequest struct {
	Project      string `json:"project" doc:"as in the authorization request"`
	Code         string `json:"code"`
	CodeVerifier string `json:"code_verifier"`
	RedirectURI  string `json:"redirect_uri"`
}

// Touched answers it.
type Touched struct {
	Project string    `json:"project" doc:"name"`
	At      time.Time `json:"at" doc:"when he showed it"`
	Until   time.Time `json:"until,omitzero" doc:"how long it counts on this device in this project; no end if the project never asks"`
}
