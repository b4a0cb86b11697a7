package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/demo/stage"
	"github.com/cardea-ssh/cardea/dpop"
	"github.com/cardea-ssh/cardea/internal/browse"
	"github.com/cardea-ssh/cardea/internal/postgres"
	"github.com/cardea-ssh/cardea/login"
)

// Rows of the table of identity. Those of a database have its name before them.
const (
	rowProof   = "proof of possession, checked"
	rowSession = "session checked"
	rowSignIn  = "sign-in, password to session"
)

// proofsEach is how many proofs one caller has made before the clock runs: to make one costs
// what checking it does.
const proofsEach = 500

// identity measures what each call costs before it is known who calls, and what a whole
// sign-in costs.
func (b *bench) identity(ctx context.Context) error {
	t := &table{
		Name: "identity", Title: fmt.Sprintf("who is it: %d clients, loopback HTTP", callers), Columns: loadColumns,
		Note: fmt.Sprintf("%d cores for all of them, %s of load; a proof is checked in this process, a session by GET /v1/session; a sign-in is authorization request, password (argon2id, 19 MiB, two at once), confirmation and token, over connections of its own, each from another address", runtime.NumCPU(), b.opt.load),
	}
	if err := b.proofs(ctx, t); err != nil {
		return err
	}
	err := b.engines(ctx, t, func(engine string, g *ground, db *postgres.Server) error {
		clients, err := g.clients(ctx)
		if err != nil {
			return err
		}
		err = b.press(ctx, t, engine+", "+rowSession, g, db, func(i int) error {
			_, err := clients[i].Get(ctx, "/v1/session", nil, nil)
			return err
		})
		if err != nil {
			return err
		}
		return b.signIns(ctx, t, engine, g, db)
	})
	b.report(t)
	return err
}

// proofs checks proofs as the control plane does with each call, with a nonce and a token.
func (b *bench) proofs(ctx context.Context, t *table) error {
	const url, token = "https://access.example.com/v1/connect", "cardea_ses_bench"
	var secret [dpop.MinNonceSecret]byte
	rand.Read(secret[:]) // never fails
	nonces, err := dpop.NewNonces(time.Hour, secret[:])
	if err != nil {
		return err
	}
	var made [callers][]string
	for i := range made {
		key, err := dpop.NewKey()
		if err != nil {
			return err
		}
		for range proofsEach {
			proof, err := key.Proof(http.MethodPost, url, nonces.Issue(time.Now()), token)
			if err != nil {
				return err
			}
			made[i] = append(made[i], proof)
		}
	}
	var checker dpop.Checker
	var next [callers]int
	return b.press(ctx, t, rowProof, nil, nil, func(i int) error {
		next[i]++
		_, err := checker.Check([]string{made[i][next[i]%proofsEach]}, dpop.Expect{Method: http.MethodPost, URL: url, Token: token, Nonce: nonces.Check})
		return err
	})
}

// signIns has people sign in again and again, each on a device of his own.
func (b *bench) signIns(ctx context.Context, t *table, engine string, g *ground, db *postgres.Server) error {
	var people []*stage.Person
	var keys []*dpop.Key
	for i := range callers {
		p, err := g.AddUser(ctx, fmt.Sprintf("comer%d", i+1))
		if err != nil {
			return err
		}
		key, err := dpop.NewKey()
		if err != nil {
			return err
		}
		people, keys = append(people, p), append(keys, key)
	}
	var sources atomic.Uint32
	return b.press(ctx, t, engine+", "+rowSignIn, g, db, func(i int) error {
		return signIn(ctx, g.URL, people[i], keys[i], loopback(sources.Add(1)))
	})
}

// signIn goes through the real pages, from an address of its own: one source alone is held
// back, and an office does not come from one.
func signIn(ctx context.Context, url string, p *stage.Person, key *dpop.Key, from net.IP) error {
	client := api.NewHTTP(func(t *http.Transport) {
		t.DialContext = (&net.Dialer{LocalAddr: &net.TCPAddr{IP: from}}).DialContext
	})
	defer client.CloseIdleConnections()
	visitor := browse.Person{Name: p.Name, Password: p.Password, HTTP: client.Transport}
	flow := login.Flow{URL: url, Key: key, DeviceName: "bench", HTTP: client, Open: func(to string) error {
		_, err := visitor.Visit(ctx, to)
		return err
	}}
	saved, err := flow.Run(ctx)
	if err == nil && saved.Session.UserName != p.Name {
		err = errors.New("a session of somebody else")
	}
	return err
}

// loopback is the nth address that this machine has for itself, from 127.1.0.0 on.
func loopback(n uint32) net.IP {
	return net.IPv4(127, byte(1+n>>16), byte(n>>8), byte(n))
}
