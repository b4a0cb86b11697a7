package control

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"github.com/cardea-ssh/cardea/control/web"
)

// docsRoutes serve the API's description for machines and for people. Each is
// made when it is first asked for, since that takes longer than all else of a
// start, and holds nothing that is secret: the source is public.
func docsRoutes(t *table) {
	fail := (&pages{server: t.server, signin: t.server.signin, web: t.server.web}).fail
	spec := sync.OnceValue(t.spec)
	document := func() ([]byte, error) { return json.Marshal(spec()) }
	page := func() ([]byte, error) {
		var b bytes.Buffer
		err := t.server.web.Docs(&b, describe(spec()))
		return b.Bytes(), err
	}
	t.plain(route{Method: "GET", Path: "/openapi.json", Access: Public, Doc: "OpenAPI 3.1"}, serve("application/openapi+json", document), fail)
	t.plain(route{Method: "GET", Path: "/docs", Access: Public, Doc: "The API for people to read"}, serve("text/html; charset=utf-8", page), fail)
}

// spec describes all routes of the finished table.
func (t *table) spec() *huma.OpenAPI {
	all := framework(t.server, http.NewServeMux())
	for _, add := range t.described {
		add(all)
	}
	for _, unused := range []string{"ErrorModel", "ErrorDetail"} { // the framework's own errors; see problemOf
		delete(all.OpenAPI().Components.Schemas.Map(), unused)
	}
	return all.OpenAPI()
}

func serve(media string, make func() ([]byte, error)) func(http.ResponseWriter, *http.Request) error {
	once := sync.OnceValues(make)
	return func(w http.ResponseWriter, _ *http.Request) error {
		body, err := once()
		if err != nil {
			return fmt.Errorf("describe the API: %w", err)
		}
		w.Header().Set("Content-Type", media)
		w.Header().Set("Content-Security-Policy", pagePolicy)
		_, err = w.Write(body)
		return err
	}
}

// describe makes the page's view of the document.
func describe(spec *huma.OpenAPI) web.Docs {
	d := web.Docs{URL: spec.Servers[0].URL, Version: spec.Info.Version}
	groups := map[string][]web.Call{}
	for _, path := range slices.Sorted(maps.Keys(spec.Paths)) {
		item := spec.Paths[path]
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete} {
			if op != nil {
				groups[op.Tags[0]] = append(groups[op.Tags[0]], describeCall(op))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		d.Groups = append(d.Groups, web.Group{Name: name, Calls: groups[name]})
	}
	schemas := spec.Components.Schemas.Map()
	for _, name := range slices.Sorted(maps.Keys(schemas)) {
		if schema := schemas[name]; schema.Type == huma.TypeObject && !strings.HasPrefix(name, listPrefix) {
			d.Types = append(d.Types, web.Type{Name: name, Fields: fields(schema)})
		}
	}
	return d
}

// listPrefix is how huma names the schema of an api.List.
const listPrefix = "List"

func describeCall(op *huma.Operation) web.Call {
	c := web.Call{ID: op.OperationID, Method: op.Method, Path: op.Path, Doc: op.Summary}
	c.Access, _ = op.Extensions[accessExtension].(string)
	for _, p := range op.Parameters {
		typ, _ := typeName(p.Schema)
		doc := p.Description
		if doc == "" {
			doc = p.Schema.Description
		}
		c.Parameters = append(c.Parameters, web.Field{Name: p.Name, Type: typ, Doc: doc, Needed: p.Required})
	}
	if op.RequestBody != nil {
		c.In = contentType(op.RequestBody.Content)
	}
	if ok := op.Responses["200"]; ok != nil {
		c.Out = contentType(ok.Content)
	}
	if of, ok := strings.CutPrefix(c.Out, listPrefix); ok && of != "" {
		c.Out, c.List = of, true
	}
	return c
}

func contentType(content map[string]*huma.MediaType) string {
	for _, m := range content {
		_, ref := typeName(m.Schema)
		return ref
	}
	return ""
}

func fields(s *huma.Schema) []web.Field {
	var out []web.Field
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		p := s.Properties[name]
		typ, ref := typeName(p)
		doc := p.Description
		if len(p.Enum) > 0 {
			doc = strings.TrimSpace(doc + " One of " + strings.Trim(strings.ReplaceAll(fmt.Sprint(p.Enum), " ", ", "), "[]") + ".")
		}
		out = append(out, web.Field{Name: name, Type: typ, Ref: ref, Doc: doc, Needed: slices.Contains(s.Required, name)})
	}
	return out
}

// typeName says a schema in one word or two, and which named type it leads to.
func typeName(s *huma.Schema) (text, ref string) {
	switch {
	case s == nil:
		return "anything", ""
	case s.Ref != "":
		name := s.Ref[strings.LastIndex(s.Ref, "/")+1:]
		return name, name
	case s.Type == huma.TypeArray:
		text, ref = typeName(s.Items)
		return "list of " + text, ref
	case s.Format == "date-time":
		return "time", ""
	case s.ContentEncoding != "":
		return s.ContentEncoding, ""
	}
	return s.Type, ""
}
