package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"gocloud.dev/blob"

	"github.com/cardea-ssh/cardea/ca"
	"github.com/cardea-ssh/cardea/control"
	"github.com/cardea-ssh/cardea/dpop"
	"github.com/cardea-ssh/cardea/internal/bucket"
	"github.com/cardea-ssh/cardea/internal/commandline"
	"github.com/cardea-ssh/cardea/internal/daemon"
	"github.com/cardea-ssh/cardea/internal/version"
	"github.com/cardea-ssh/cardea/store"
)

func newServe() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use: "serve", Short: "Serve the API and the sign-in pages",
		Example: "  cardea-control serve\n" +
			"  cardea-control serve --listen :443 --public-url https://access.example.com --tls-cert chain.pem --tls-key key.pem",
	}
	return withOptions(cmd, &o, func(ctx context.Context) error { return serve(ctx, &o, cmd.ErrOrStderr()) })
}

func serve(ctx context.Context, o *options, stderr io.Writer) error {
	spendMemory(os.LookupEnv)
	log, err := o.Logger(stderr)
	if err != nil {
		return commandline.Wrong(err)
	}
	if o.sqlite() {
		if err := mayMake("serve"+o.given, o.Database); err != nil {
			return err
		}
	}
	db, err := openStore(ctx, o, log)
	if err != nil {
		return err
	}
	defer db.Close()
	team, err := db.Team(ctx)
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("the database has no team yet; %s", o.typeInit())
	}
	if err != nil {
		return err
	}
	keeper, err := openKeeper(ctx, o)
	if err != nil {
		return err
	}
	defer keeper.Close()
	ring := ca.NewKeyring(keeper)
	nonces, err := openKeys(ctx, db, ring)
	if errors.Is(err, ca.ErrSealed) {
		return fmt.Errorf("the key file %s is not the one with which this database was made; give the right one with --key-file, or restore it from your backup", o.KeyFile)
	}
	if err != nil {
		return err
	}
	listener, err := listen(o)
	if err != nil {
		return err
	}
	defer listener.Close()
	public := o.publicURL(listener.Addr())
	clouds, err := o.clouds()
	if err != nil {
		return commandline.Wrong(err)
	}
	var kept *blob.Bucket
	if o.Recordings != "" {
		if kept, err = bucket.Open(ctx, o.Recordings); err != nil {
			return commandline.Wrong(err)
		}
		defer kept.Close()
	}
	server, err := control.New(control.Options{
		Clouds: clouds, Recordings: kept,
		Store: db, Nonces: nonces, Keys: ring, Keeper: keeper, PublicURL: public, Proxies: o.proxies,
		Logger: log, Version: version.Get().Version, SessionLife: o.SessionLife,
	})
	if err != nil {
		return commandline.Wrong(err)
	}
	log.Info("serving", "team", team.Name, "listen", listener.Addr().String(), "url", public, "instance", o.Instance, "version", version.Get().Version)
	tellSystemd(log, "READY=1")
	defer tellSystemd(log, "STOPPING=1")
	return server.Run(ctx, listener)
}

// openKeys opens every key of the team once, and returns the proofs' nonces.
func openKeys(ctx context.Context, db store.Store, ring *ca.Keyring) (*dpop.Nonces, error) {
	for _, purpose := range []ca.Purpose{ca.HostCA, ca.GatewayCA} {
		records, err := keysOf(ctx, db, purpose)
		if err != nil {
			return nil, err
		}
		for _, r := range records {
			if _, err := ring.Authority(ctx, r); err != nil {
				return nil, err
			}
		}
	}
	for _, purpose := range []ca.Purpose{ca.Policy, ca.Ticket} {
		records, err := keysOf(ctx, db, purpose)
		if err != nil {
			return nil, err
		}
		for _, r := range records {
			if _, err := ring.Signer(ctx, r); err != nil {
				return nil, err
			}
		}
	}
	records, err := keysOf(ctx, db, ca.Nonce)
	if err != nil {
		return nil, err
	}
	var shared [][]byte
	for _, r := range records {
		s, err := ring.Symmetric(ctx, r)
		if err != nil {
			return nil, err
		}
		shared = append(shared, s.Reveal())
	}
	return dpop.NewNonces(dpop.NonceTTL, shared...)
}

// listen opens the port, with TLS if it is configured.
func listen(o *options) (net.Listener, error) {
	l, err := net.Listen("tcp", o.Listen)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("another program listens on %s; stop it, or choose another address with --listen", o.Listen)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("%s needs a privilege to listen on; choose a port above 1023 with --listen", o.Listen)
	case err != nil:
		return nil, fmt.Errorf("listen on %s: %s; choose another address with --listen", o.Listen, lastPart(err))
	}
	if o.TLSCert == "" {
		return l, nil
	}
	secure, err := withTLS(l, o.TLSCert, o.TLSKey)
	if err != nil {
		l.Close()
		return nil, commandline.Wrong(err)
	}
	return secure, nil
}

// lastPart is what an error of package net is about, without the call.
func lastPart(err error) string {
	parts := strings.Split(err.Error(), ": ")
	return parts[len(parts)-1]
}

func tellSystemd(log *slog.Logger, state string) {
	if err := daemon.Notify(state); err != nil {
		log.Warn("tell systemd", "error", err)
	}
}
