package pools

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// After a failover a connection may still lead to the old primary, which is read-only
// now, and would fail every write for as long as it lives. The server says so: with
// 25006 when it refuses a write, and from PostgreSQL 14 on with two parameters, whose
// new values come with its next answer.
const (
	inHotStandby    = "in_hot_standby"
	defaultReadOnly = "default_transaction_read_only"
)

// readOnlyStays is how long a connection to a server that was read-only already when it
// was dialed is kept after a refused write. Another dial may find the new primary, but
// of a database that is read-only by intent there is none to find: so writes to it cost
// each connection one dial in that time, and not one each. Nanoseconds; atomic for the
// tests, which change it.
var readOnlyStays atomic.Int64

func init() { readOnlyStays.Store(int64(5 * time.Second)) }

var errTurnedReadOnly = errors.New("its server has become read-only")

// readOnly tells whether the server says that the session's transactions are read-only
// unless they ask for something else.
func (b *backend) readOnly() bool {
	pg := b.pgx.PgConn()
	return pg.ParameterStatus(inHotStandby) == "on" || pg.ParameterStatus(defaultReadOnly) == "on"
}

// turnedReadOnly tells whether it was not so when the connection was dialed.
func (b *backend) turnedReadOnly() bool { return b.readOnly() && !b.dialedReadOnly && !b.mayBeReadOnly }

// afterRefusedWrite tells in which state a holder gives back a connection on which the
// server refused to write. In a transaction that was begun read-only nothing else is
// to be expected.
func (b *backend) afterRefusedWrite() core.Health {
	switch untold := b.pgx.PgConn().ParameterStatus(inHotStandby) == ""; { // before PostgreSQL 14
	case b.mayBeReadOnly:
	case b.turnedReadOnly():
		return core.Lost // and so may others be
	case (b.readOnly() || untold && b.network.refusedOutside) && time.Since(b.dialed) >= time.Duration(readOnlyStays.Load()):
		return core.Unclean
	}
	return core.Clean
}

// reported is pgx's check of target_session_attrs without its round trip, where the
// server has reported at the login what it is (PostgreSQL 14 and later), as in libpq.
func reported(attrs string, ask pgconn.ValidateConnectFunc) pgconn.ValidateConnectFunc {
	if ask == nil || attrs == "prefer-standby" { // pgx has a word of its own for what it prefers less
		return ask
	}
	return func(ctx context.Context, pg *pgconn.PgConn) error {
		standby, readOnly := pg.ParameterStatus(inHotStandby), pg.ParameterStatus(defaultReadOnly)
		if standby == "" || readOnly == "" {
			return ask(ctx, pg)
		}
		switch {
		case standby == "on" && (attrs == "primary" || attrs == "read-write"):
			return pgconn.ErrStandbyConnection
		case standby != "on" && attrs == "standby":
			return pgconn.ErrPrimaryConnection
		case readOnly == "on" && attrs == "read-write":
			return pgconn.ErrReadOnlyConnection
		case standby != "on" && readOnly != "on" && attrs == "read-only":
			return pgconn.ErrReadWriteConnection
		}
		return nil
	}
}

// unfit tells whether a dial failed because no server is what target_session_attrs asks
// for, and of which kind that failure is. Whether a server is a standby concerns all
// databases; a database or a role may be read-only for itself.
func unfit(err error) (kind model.FailureKind, ok bool) {
	switch {
	case errors.Is(err, pgconn.ErrStandbyConnection), errors.Is(err, pgconn.ErrPrimaryConnection):
		return model.ServerDown, true
	case errors.Is(err, pgconn.ErrReadOnlyConnection), errors.Is(err, pgconn.ErrReadWriteConnection):
		return model.Transient, true
	}
	return 0, false
}
