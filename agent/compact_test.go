package agent

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/google/go-cmp/cmp"
)

// Who asks is told the same in either form, whatever the list has and has not.
func TestACatalogIsTheSameInBothForms(t *testing.T) {
	for name, cat := range map[string]api.Catalog{
		"nothing at all": {Servers: []api.CatalogEntry{}, HostCAs: []string{}},
		"much": {
			Version: "v", Session: api.Session{ID: "ses_a", User: "usr_a", ExpiresAt: time.Now().Round(0)}, HostCAs: []string{"ssh-ed25519 AAAA"}, GatewayCAs: []string{"ssh-ed25519 BBBB"},
			GatewayHostKeys: map[string][]string{"prj_a": {"ssh-ed25519 CCCC"}},
			Servers: []api.CatalogEntry{
				{ID: "srv_a", Name: "web-1", AltNames: []string{"www"}, Labels: map[string]string{"role": "web"}, LastSeen: time.Now().Round(0).UTC(), Recorded: true, BreakGlass: &api.CatalogBreakGlass{}},
				{ID: "srv_b", Name: "web-2", Gateway: "none"},
				{ID: "srv_c", Name: "web-3", Gateway: "none", Labels: map[string]string{"role": "web"}, LastSeen: time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC), HostKey: "ssh-ed25519 DDDD"},
				{ID: "srv_d", Name: "web-4", Gateway: "none", Labels: map[string]string{"role": "web"}, LastSeen: time.Unix(0, 1).UTC()},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			encoded, err := encodeCatalog(cat)
			if err != nil {
				t.Fatal(err)
			}
			compact, err := decodeAnswer(bytes.NewReader(columnsAnswer(encoded, time.Minute)))
			if err != nil {
				t.Fatal(err)
			}
			line, err := answer{Catalog: &cat, Age: time.Minute}.encode()
			if err != nil {
				t.Fatal(err)
			}
			plain, err := decodeAnswer(bytes.NewReader(line))
			if err != nil {
				t.Fatal(err)
			}
			texts := [2]string{}
			for i, a := range []answer{compact, plain} {
				if a.Age != time.Minute {
					t.Errorf("age %s", a.Age)
				}
				text, err := json.Marshal(a.Catalog)
				if err != nil {
					t.Fatal(err)
				}
				texts[i] = string(text)
			}
			if diff := cmp.Diff(texts[1], texts[0]); diff != "" {
				t.Errorf("JSON of the catalog (-as JSON +compact):\n%s", diff)
			}
		})
	}
}

// Whatever is told of a server one day comes through by itself.
func TestEveryFieldOfAServerComesThrough(t *testing.T) {
	full := reflect.New(reflect.TypeFor[api.CatalogEntry]()).Elem()
	fill(t, full)
	cat := api.Catalog{HostCAs: []string{}, Servers: []api.CatalogEntry{full.Interface().(api.CatalogEntry), {ID: "srv_b"}, full.Interface().(api.CatalogEntry)}}
	encoded, err := encodeCatalog(cat)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeAnswer(bytes.NewReader(columnsAnswer(encoded, 0)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(cat.Servers, got.Catalog.Servers); diff != "" {
		t.Errorf("servers (-sent +got):\n%s", diff)
	}
}

// fill gives every field some value.
func fill(t *testing.T, v reflect.Value) {
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Unix(1, 0).UTC()))
	case v.Kind() == reflect.String:
		v.SetString("x")
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	case v.CanInt():
		v.SetInt(7)
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem())
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, v.Index(0))
	case v.Kind() == reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(t, key)
		fill(t, value)
		v.SetMapIndex(key, value)
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i))
		}
	default:
		t.Fatalf("no value for a %s", v.Type())
	}
}

// Columns that do not fit each other are no list, and no reason to fall over.
func TestColumnsThatDoNotFitAreAnError(t *testing.T) {
	whole := func() columns {
		return columns{Kinds: []api.CatalogEntry{{}}, Kind: []int32{0}, IDs: []string{"srv_a"}, Names: []string{"a"}, HostKeys: []string{""}, Seen: []int64{0}}
	}
	if _, err := whole().join(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*columns){
		"no ids":        func(c *columns) { c.IDs = nil },
		"too many":      func(c *columns) { c.Names = []string{"a", "b"} },
		"no keys":       func(c *columns) { c.HostKeys = nil },
		"no times":      func(c *columns) { c.Seen = nil },
		"no such kind":  func(c *columns) { c.Kind[0] = 1 },
		"a kind before": func(c *columns) { c.Kind[0] = -1 },
	} {
		c := whole()
		spoil(&c)
		if cat, err := c.join(); err == nil {
			t.Errorf("%s became %+v", name, cat)
		}
	}
}

func TestWhatIsNoAnswerIsAnError(t *testing.T) {
	for _, bad := range []string{"", "{", columnsMark, columnsMark + "x\n", columnsMark + "1\n", columnsMark + "1\ngarbage"} {
		if out, err := decodeAnswer(strings.NewReader(bad)); err == nil {
			t.Errorf("%q became %+v", bad, out)
		}
	}
}
