package work

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// Transaction is SQL, of one statement or several, that is done in one transaction: all of
// it or nothing.
type Transaction struct{ SQL string }

// Plain is SQL that is sent as it is, for what cannot be in a transaction. The server
// still makes one of several statements that are sent at once.
type Plain struct{ SQL string }

// Sum names the SQL by its hash: it may hold a secret.
func (t Transaction) Sum() string { return sum("sql in a transaction", t.SQL) }

// Sum is that of the SQL, and of its being Plain.
func (p Plain) Sum() string { return sum("sql", p.SQL) }

func sum(kind, what string) string {
	return fmt.Sprintf("%s, sha256 %x", kind, sha256.Sum256([]byte(what)))
}

// connectionsAtMost is how many are tried when they break before anything was done.
const connectionsAtMost = 3

// fits: the server has xid8 from version 13 on.
func (Transaction) fits(s server) error {
	if s.version < 130_000 {
		return fmt.Errorf("the server is PostgreSQL %d; to tell what became of a transaction takes 13 or later: use --no-transaction", s.version/10_000)
	}
	return nil
}

func (Plain) fits(server) error { return nil }

func (t Transaction) do(ctx context.Context, r *run, w *pools.Workspace) Result {
	for attempt := 1; ; attempt++ {
		conn, xid, err := beginIn(ctx, w)
		switch {
		case err == nil:
			defer conn.Release()
			state, err := t.within(ctx, r, conn, w.ID(), xid)
			if state == Committing { // its entry stays the last one
				return Result{State: Uncertain, Attempts: attempt, Error: err.Error()}
			}
			return r.ended(w.ID(), state, attempt, err)
		case !errors.Is(err, model.ErrConnectionLost) || ctx.Err() != nil || attempt == connectionsAtMost:
			return r.ended(w.ID(), Failed, attempt, err)
		}
	}
}

// beginIn begins a transaction that has a number, and a commit of which lasts.
func beginIn(ctx context.Context, w *pools.Workspace) (conn *pools.Conn, xid string, err error) {
	conn, err = w.Acquire(ctx)
	if err != nil {
		return nil, "", err
	}
	if _, err = conn.Exec(ctx, "BEGIN"); err == nil {
		var unused *string
		err = conn.QueryRow(ctx, askXID+`, CASE WHEN pg_catalog.current_setting('synchronous_commit') = 'off'
			THEN pg_catalog.set_config('synchronous_commit', 'on', true) END`, pgx.QueryExecModeSimpleProtocol).Scan(&xid, &unused)
	}
	if err != nil {
		conn.Release()
		return nil, "", err
	}
	return conn, xid, nil
}

const askXID = `SELECT pg_catalog.pg_current_xact_id()::text`

var errOwnTransaction = errors.New("the SQL ended the transaction it was in (COMMIT, ROLLBACK or the like), so that a part of it may have been done: leave that to exec, or use --no-transaction")

// within does it in the transaction. The state Committing is that of a commit without an
// answer.
func (t Transaction) within(ctx context.Context, r *run, conn *pools.Conn, id model.WorkspaceID, xid string) (State, error) {
	e := entry{Workspace: id, State: Begun, XID: xid, Timeline: r.server.timeline}
	if err := r.note(e); err != nil {
		return Failed, err
	}
	commands, err := send(ctx, conn, t.SQL)
	if err != nil {
		return r.undone(ctx, conn, xid, endsTransaction(commands), err)
	}
	var now string
	if err := conn.QueryRow(ctx, askXID, pgx.QueryExecModeSimpleProtocol).Scan(&now); err != nil {
		return r.undone(ctx, conn, xid, false, err)
	}
	if now != xid || endsTransaction(commands) {
		return Uncertain, errOwnTransaction
	}
	e.State = Committing
	if err := r.note(e); err != nil {
		return Failed, err // Release rolls back
	}
	tag, err := conn.Exec(ctx, "COMMIT")
	if err == nil && tag.String() == "COMMIT" {
		return Done, nil
	}
	if err == nil {
		err = fmt.Errorf("the server answered COMMIT with %s", tag)
	}
	switch status, unsettled := r.fateSoon(ctx, xid); {
	case unsettled != nil:
		return Committing, fmt.Errorf("%w; whether transaction %s was committed is not known (%w): resume to find out", err, xid, unsettled)
	case status == committed:
		return Done, nil
	case status == aborted:
		return Failed, err
	}
	return Uncertain, err
}

// undone is the state after SQL that failed with err: nothing was done, if the transaction
// that it was in was still its own, and was rolled back.
func (r *run) undone(ctx context.Context, conn *pools.Conn, xid string, ended bool, err error) (State, error) {
	pg := conn.Conn().PgConn()
	if ended || !pg.IsClosed() && pg.TxStatus() == 'I' {
		return Uncertain, fmt.Errorf("%w; %w", err, errOwnTransaction)
	}
	rolling, stop := context.WithTimeout(context.WithoutCancel(ctx), settleWithin)
	_, _ = conn.Exec(rolling, "ROLLBACK") // or the connection's end does it
	stop()
	conn.Release()
	switch status, unsettled := r.fateSoon(ctx, xid); {
	case unsettled != nil:
		return Uncertain, fmt.Errorf("%w; whether that undid transaction %s is not known: %w", err, xid, unsettled)
	case status != aborted:
		return Uncertain, fmt.Errorf("%w; %w", err, errOwnTransaction)
	}
	return Failed, err
}

// settleWithin bounds asking for a fate whose context may have ended.
const settleWithin = 10 * time.Second

func (r *run) fateSoon(ctx context.Context, xid string) (string, error) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), settleWithin)
	defer stop()
	return r.fate(ctx, xid)
}

func (p Plain) do(ctx context.Context, r *run, w *pools.Workspace) Result {
	conn, err := w.Acquire(ctx)
	if err != nil {
		return r.ended(w.ID(), Failed, 1, err)
	}
	defer conn.Release()
	if err := r.note(entry{Workspace: w.ID(), State: Begun}); err != nil {
		return Result{State: Failed, Error: err.Error()}
	}
	_, err = send(ctx, conn, p.SQL)
	pg := conn.Conn().PgConn()
	switch {
	case err == nil && pg.TxStatus() != 'I':
		return r.ended(w.ID(), Failed, 1, errors.New("the SQL left a transaction open, which was rolled back: end it with COMMIT"))
	case err != nil && (ctx.Err() != nil || pg.IsClosed()):
		return r.ended(w.ID(), Uncertain, 1, err)
	case err != nil:
		return r.ended(w.ID(), Failed, 1, err)
	}
	return r.ended(w.ID(), Done, 1, nil)
}

// errNoData answers a COPY FROM STDIN.
const errNoData = "exec has no data to send: use INSERT, or psql with --command"

// send has the server do all statements of the SQL, and reads its answers, down to the last
// one: pgx leaves a COPY FROM STDIN waiting for ever. commands are the tags of the statements
// that were done. A connection that cannot be used after an error is closed.
func send(ctx context.Context, conn *pools.Conn, sql string) (commands []string, err error) {
	pg := conn.Conn().PgConn()
	to := pg.Frontend()
	to.SendQuery(&pgproto3.Query{String: sql})
	err = to.Flush()
	var refused error
	for err == nil {
		var message pgproto3.BackendMessage
		if message, err = pg.ReceiveMessage(ctx); err != nil {
			break
		}
		switch m := message.(type) {
		case *pgproto3.CommandComplete:
			commands = append(commands, string(m.CommandTag))
		case *pgproto3.ErrorResponse:
			refused = pgconn.ErrorResponseToPgError(m)
		case *pgproto3.CopyInResponse:
			to.Send(&pgproto3.CopyFail{Message: errNoData})
			err = to.Flush()
		case *pgproto3.ReadyForQuery:
			if ctx.Err() != nil && refused != nil {
				refused = fmt.Errorf("%w: %w", context.Cause(ctx), refused)
			}
			return commands, refused
		}
	}
	closing, stop := context.WithTimeout(context.WithoutCancel(ctx), settleWithin)
	defer stop()
	if !pg.IsClosed() {
		_ = pg.CancelRequest(closing) // whatever runs is not waited for
		_ = conn.Conn().Close(closing)
	}
	if refused != nil {
		err = refused // the last word of a server that ends the session
	}
	if ctx.Err() != nil {
		return commands, fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return commands, fmt.Errorf("%w: %w", model.ErrConnectionLost, err)
}

// endsTransaction tells whether one of the statements was about a transaction of its own.
// A ROLLBACK may have been one to a savepoint; one that was not shows in what follows it.
func endsTransaction(commands []string) bool {
	return slices.ContainsFunc(commands, func(tag string) bool {
		return tag == "COMMIT" || tag == "BEGIN" || tag == "START TRANSACTION" || tag == "PREPARE TRANSACTION"
	})
}
