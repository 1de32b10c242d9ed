package work

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// server is what is asked of it once.
type server struct {
	version int
	// system is its system identifier, or empty if the role may not ask for that.
	system string
	// timeline is the history that it writes: another one after a failover or a restore,
	// in which a transaction's number may mean another transaction.
	timeline string
}

func askServer(ctx context.Context, m *pools.Manager) (s server, err error) {
	const ask = `SELECT pg_catalog.current_setting('server_version_num')::int, pg_catalog.pg_is_in_recovery()`
	var standby bool
	if err := m.System().QueryRow(ctx, ask).Scan(&s.version, &standby); err != nil {
		return s, fmt.Errorf("ask the server for its version: %w", err)
	}
	if standby {
		return s, errors.New("the server is a standby, which takes no changes: connect to its primary (DB_HOST, DB_TARGET_SESSION_ATTRS)")
	}
	const history = `SELECT pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8)`
	if err := m.System().QueryRow(ctx, history).Scan(&s.timeline); err != nil && !notAllowed(err) {
		return s, fmt.Errorf("ask the server for its timeline: %w", err)
	}
	const name = `SELECT system_identifier::text FROM pg_catalog.pg_control_system()`
	if err := m.System().QueryRow(ctx, name).Scan(&s.system); err != nil && !notAllowed(err) {
		return s, fmt.Errorf("ask the server for its system identifier: %w", err)
	}
	return s, nil
}

// notAllowed: some hosted servers keep such things to themselves.
func notAllowed(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == pgerrcode.InsufficientPrivilege
}

// settled is the result of a workspace for which nothing is to do or to ask.
func (r *run) settled(id model.WorkspaceID) (Result, bool) {
	result := Result{Workspace: id, Earlier: true}
	switch last := r.Journal.last(id); {
	case last.State == Done:
		result.State = Done
		return result, true
	case r.RetryUncertain:
	case last.State == Uncertain:
		result.State, result.Error = Uncertain, last.Error
		return result, true
	case last.State == Begun && last.XID == "":
		result.State = Uncertain
		result.Error = "it was begun and has no end in the journal, and was not in a transaction that could be asked for: look yourself whether it was done"
		return result, true
	}
	return Result{}, false
}

// settle finds out what became of a transaction that an earlier run left open. settled is
// false if it is to be done now.
func (r *run) settle(ctx context.Context, id model.WorkspaceID, open entry) (result Result, settled bool) {
	if open.XID == "" {
		return Result{}, false // RetryUncertain, or it would not have come here
	}
	status, err := notKnown, error(nil)
	if open.Timeline == r.server.timeline {
		status, err = r.fate(ctx, open.XID)
	}
	switch {
	case err != nil: // the journal leaves it open
		return Result{Workspace: id, State: Failed, Error: fmt.Sprintf("an earlier run's transaction %s is not settled: %v", open.XID, err)}, true
	case status == aborted, r.RetryUncertain && status != committed:
		return Result{}, false
	case status == committed && open.State == Committing:
		result = r.ended(id, Done, 0, nil)
		result.Earlier = true
		return result, true
	case status == committed && r.RetryUncertain:
		return Result{}, false
	case status == committed:
		return r.ended(id, Uncertain, 0, fmt.Errorf("an earlier run was ended in the midst of SQL that had committed something itself (transaction %s): look yourself how far it came", open.XID)), true
	}
	return r.ended(id, Uncertain, 0, fmt.Errorf("the server does not know any more whether it committed transaction %s: look yourself whether it was done", open.XID)), true
}

// What pg_xact_status says of a transaction.
const (
	committed  = "committed"
	aborted    = "aborted"
	inProgress = "in progress"
	notKnown   = "" // too old, or of another history
)

// askAgain is how often the fate of a transaction in progress is asked for.
const askAgain = 100 * time.Millisecond

// fate waits until the transaction has ended, at most until ctx is done.
func (r *run) fate(ctx context.Context, xid string) (string, error) {
	for unfinished := false; ; unfinished = true {
		var status *string
		err := r.manager.System().QueryRow(ctx, `SELECT pg_catalog.pg_xact_status($1::text::pg_catalog.xid8)`, xid).Scan(&status)
		var refused *pgconn.PgError
		switch {
		case errors.As(err, &refused) && refused.Code == pgerrcode.InvalidParameterValue: // it is in the future
			return notKnown, nil
		case err != nil && unfinished && ctx.Err() != nil:
			return "", fmt.Errorf("it is still in progress: %w", context.Cause(ctx))
		case err != nil:
			return "", err
		case status == nil:
			return notKnown, nil
		case *status != inProgress:
			return *status, nil
		}
		select {
		case <-time.After(askAgain):
		case <-ctx.Done(): // the next question says so
		}
	}
}
