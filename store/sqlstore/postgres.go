package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// idleInTransaction is after how long PostgreSQL ends the transaction of an
// instance that hangs (a stopped process), in milliseconds: the rows that it
// holds block the others. It is less than the time that their statements wait.
const idleInTransaction = 5_000

// connectTime bounds one try to connect, where the URL has no connect_timeout.
const connectTime = 5 * time.Second

func openPostgres(ctx context.Context, o Options) (*engine, error) {
	cfg, err := pgx.ParseConfig(o.URL)
	if err != nil {
		return nil, err // pgx leaves the password out
	}
	// The simple protocol puts values into the statement's text; never.
	cfg.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
	cfg.RuntimeParams["application_name"] = "cardea-control " + o.Instance
	cfg.RuntimeParams["statement_timeout"] = strconv.Itoa(int(statementTime.Milliseconds()))
	cfg.RuntimeParams["idle_in_transaction_session_timeout"] = strconv.Itoa(idleInTransaction)
	cfg.RuntimeParams["default_transaction_isolation"] = "read committed"
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectTime
	}
	if cfg.ValidateConnect == nil {
		// A standby may be behind: what was acknowledged must be seen.
		cfg.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	e := &engine{
		dialect:  &dialect{marks: toPostgres, dollar: true},
		postgres: cfg,
		classify: classifyPostgres,
	}
	e.reads = stdlib.OpenDB(*cfg)
	e.reads.SetMaxOpenConns(maxReaders)
	e.reads.SetMaxIdleConns(maxReaders)
	e.writes = stdlib.OpenDB(*cfg)
	e.writes.SetMaxOpenConns(1)
	if err := e.writes.PingContext(ctx); err != nil {
		e.close()
		return nil, err
	}
	return e, nil
}

// durable makes sure that a commit waits for the disk, whatever the server's
// default is; stricter settings (remote_apply) stay.
func durable(ctx context.Context, c *pgx.Conn) error {
	var mode string
	if err := c.QueryRow(ctx, "SHOW synchronous_commit").Scan(&mode); err != nil {
		return fmt.Errorf("read synchronous_commit: %w", err)
	}
	if mode != "off" {
		return nil
	}
	_, err := c.Exec(ctx, "SET synchronous_commit = on")
	return err
}

// SQLSTATE codes (PostgreSQL documentation, appendix A).
const (
	uniqueViolation      = "23505"
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	lockNotAvailable     = "55P03"
)

func classifyPostgres(err error) failure {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		// Not the server's word: the connection broke, or a value could not be
		// encoded; only a broken connection fails the rollback that follows.
		return failed
	}
	switch {
	case e.Code == uniqueViolation:
		return exists
	case e.Code == serializationFailure, e.Code == deadlockDetected, e.Code == lockNotAvailable:
		return conflict
	case len(e.Code) == 5 && (e.Code[:2] == "08" || e.Code[:2] == "57" && e.Code != "57014"):
		return lost // connection exceptions; shutdown, failover
	}
	return failed
}
