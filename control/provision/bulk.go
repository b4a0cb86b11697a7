package provision

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/cardea-ssh/cardea/control/scim"
)

// bulkRef is before the name that a bulk gives to what it makes (RFC 7644 section 3.7.2).
const bulkRef = "bulkId:"

type bulkOperation struct {
	Method  string          `json:"method"`
	BulkID  string          `json:"bulkId,omitempty"`
	Version string          `json:"version,omitempty"`
	Path    string          `json:"path"`
	Data    json.RawMessage `json:"data"`
}

type bulkAnswer struct {
	Method   string `json:"method"`
	BulkID   string `json:"bulkId,omitempty"`
	Version  string `json:"version,omitempty"`
	Location string `json:"location,omitempty"`
	Status   string `json:"status"`
	Response any    `json:"response,omitempty"`
}

// Bulk does several operations in turn, each by itself: what one does not do, others do
// (RFC 7644 section 3.7). Names of things that it makes are known to those that follow.
func (s *Service) Bulk(ctx context.Context, f From, raw []byte) (*Answer, error) {
	var in struct {
		Schemas      []string        `json:"schemas"`
		FailOnErrors int             `json:"failOnErrors"`
		Operations   []bulkOperation `json:"Operations"`
	}
	switch err := json.Unmarshal(raw, &in); {
	case err != nil || !slices.Contains(in.Schemas, scim.BulkURN):
		return nil, &scim.Error{Status: 400, Type: scim.InvalidSyntax, Detail: "the body is no bulk request: schemas lacks " + scim.BulkURN}
	case len(in.Operations) > scim.MaxBulk:
		return nil, &scim.Error{Status: 413, Detail: "a bulk has at most " + strconv.Itoa(scim.MaxBulk) + " operations"}
	}
	out := struct {
		Schemas    []string     `json:"schemas"`
		Operations []bulkAnswer `json:"Operations"`
	}{[]string{scim.BulkAnswerURN}, []bulkAnswer{}}
	made, failed := map[string]string{}, 0
	for _, op := range in.Operations {
		answer, err := s.one(ctx, f, op, made)
		if err != nil {
			return nil, err
		}
		out.Operations = append(out.Operations, answer)
		if _, bad := answer.Response.(*scim.Error); bad {
			if failed++; in.FailOnErrors > 0 && failed >= in.FailOnErrors {
				break
			}
		}
	}
	return &Answer{Status: http.StatusOK, Body: out}, nil
}

// one does one operation. An error is a fault of ours; what is wrong with the operation is in the answer.
func (s *Service) one(ctx context.Context, f From, op bulkOperation, made map[string]string) (bulkAnswer, error) {
	out := bulkAnswer{Method: strings.ToUpper(op.Method), BulkID: op.BulkID}
	r, err := s.part(op, made)
	var a *Answer
	if err == nil {
		a, err = s.Do(ctx, f, r)
	}
	var known *scim.Error
	if errors.As(err, &known) {
		out.Status, out.Response = strconv.Itoa(known.Status), known
		return out, nil
	}
	if err != nil {
		return out, err
	}
	out.Status, out.Location = strconv.Itoa(a.Status), a.Location
	if a.Version > 0 {
		out.Version = ETag(a.Version)
	}
	if op.BulkID != "" && a.ID != "" {
		made[bulkRef+op.BulkID] = a.ID
	}
	return out, nil
}

// part makes a request of an operation, with ids for the names of what was made before.
func (s *Service) part(op bulkOperation, made map[string]string) (Request, error) {
	kind, id, _ := strings.Cut(strings.TrimPrefix(op.Path, "/"), "/")
	r := Request{Method: strings.ToUpper(op.Method), Type: kind, ID: id, IfMatch: op.Version, Body: op.Data}
	if r.Method == http.MethodGet || r.Method == http.MethodPost && op.BulkID == "" {
		return r, invalid("a bulk has POST with a bulkId, PUT, PATCH and DELETE")
	}
	if strings.HasPrefix(id, bulkRef) {
		if r.ID = made[id]; r.ID == "" {
			return r, invalid("nothing was made as " + strings.TrimPrefix(id, bulkRef))
		}
	}
	if strings.Contains(string(op.Data), bulkRef) {
		var v any
		if err := json.Unmarshal(op.Data, &v); err != nil {
			return r, invalid("the data is no JSON")
		}
		body, err := json.Marshal(named(v, made))
		r.Body = body
		return r, err
	}
	return r, nil
}

// named puts ids in place of names. One that is not known stays, and is nobody's id.
func named(v any, made map[string]string) any {
	switch v := v.(type) {
	case string:
		if id, ok := made[v]; ok {
			return id
		}
	case []any:
		for i := range v {
			v[i] = named(v[i], made)
		}
	case map[string]any:
		for k := range v {
			v[k] = named(v[k], made)
		}
	}
	return v
}
