package agent

import (
	"sync"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/ident"
)

// Whoever asks takes the words for those of the person that they are said to be of.
func TestATabsWordsAreOfThePersonWhoseListTheyAreSaidToBe(t *testing.T) {
	var a Agent
	a.catalog.now = time.Now
	listOf := func(user string) api.Catalog {
		server := api.CatalogEntry{ID: ident.New(ident.Server), Name: user, ProjectName: "web", Login: user}
		return api.Catalog{Session: api.Session{User: user}, Servers: []api.CatalogEntry{server}}
	}
	alice, bob := listOf("alice"), listOf("bob")
	a.catalog.set(alice, time.Now())
	done := make(chan struct{})
	var signIns sync.WaitGroup
	signIns.Go(func() {
		for range 200 {
			a.catalog.set(bob, time.Now())
			a.catalog.set(alice, time.Now())
		}
		close(done)
	})
	defer signIns.Wait()
	for {
		select {
		case <-done:
			return
		default:
		}
		w, err := a.words(request{Verb: verbNames, Most: 10})
		if err != nil || len(w.Words) != 1 || w.Words[0] != w.User {
			t.Fatalf("%+v, %v", w, err)
		}
	}
}
