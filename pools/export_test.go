package pools

import (
	"context"
	"crypto/sha256"
	"hash"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantpool/tenantpool/model"
)

// Began is between which moments the connection's process is known to have begun.
func Began(c *Conn) (from, to time.Time) { return c.backend.began.from, c.backend.began.to }

// TerminateBackend is the closers' question to the server.
func TerminateBackend(ctx context.Context, m *Manager, c *Conn, from, to time.Time) (gone bool, err error) {
	return m.terminateBackend(ctx, &backend{pgx: c.backend.pgx, began: span{from, to}})
}

// SortRefusal is what follows from what the server said to a login.
func SortRefusal(said *pgconn.PgError) (model.FailureKind, error) {
	f := newRefusal(said)
	return f.kind, f
}

// CloseDBs closes the *sql.DBs that the manager's Close leaves to their holders.
func CloseDBs(m *Manager) { m.databases.closeAll() }

// Grantable is how many slots the server could grant the workspaces.
func Grantable(ctx context.Context, m *Manager) (int, error) { return m.grantable(ctx) }

// MaxUnconnected bounds the *sql.DBs of workspaces to which no connection has succeeded.
const MaxUnconnected = maxUnconnected

// SetAcquireTimeout changes the timeout of acquires that begin later. A test opens
// its connections first: how long that takes is the machine's affair.
func SetAcquireTimeout(m *Manager, timeout time.Duration) { m.config.AcquireTimeout = timeout }

// CancelPatiently has managers that are opened later, until the test's end, wait for a
// cancelled query for as long as the server needs, and terminate none.
func CancelPatiently(t *testing.T) {
	usual := []time.Duration{cancelWithin, silence, wakeAfter, endingTurn}
	t.Cleanup(func() { cancelWithin, silence, wakeAfter, endingTurn = usual[0], usual[1], usual[2], usual[3] })
	cancelWithin, silence, wakeAfter, endingTurn = time.Hour, time.Hour, time.Second, 2*time.Second
}

// CancelWithin has queries outlive their contexts by at most d, until the test's end.
func CancelWithin(t *testing.T, d time.Duration) {
	usual := cancelWithin
	t.Cleanup(func() { cancelWithin = usual })
	cancelWithin = d
}

// CountHashes returns how many sums of SHA-256 logins have taken since, until the
// test's end. The keys of a password take two for each iteration, and the rest of a
// login less than twenty.
func CountHashes(t *testing.T) *atomic.Int64 {
	var n atomic.Int64
	before := scramHash
	t.Cleanup(func() { scramHash = before })
	scramHash = func() hash.Hash { return &countedHash{sha256.New(), &n} }
	return &n
}

type countedHash struct {
	hash.Hash
	sums *atomic.Int64
}

func (h *countedHash) Sum(b []byte) []byte {
	h.sums.Add(1)
	return h.Hash.Sum(b)
}

// ClosingAtMost is how long Close waits for a server that does not answer.
const ClosingAtMost = closingAtMost

// LookAfter is how long a connection must be idle to be looked at.
const LookAfter = lookAfter

// CloseWaits changes how long Close waits before it logs for what.
func CloseWaits(m *Manager, d time.Duration) { m.closeWaits = d }

// ReadOnlyStays sets, until the test's end, how long a connection to a server that was
// read-only from the beginning is kept after a refused write.
func ReadOnlyStays(t *testing.T, d time.Duration) {
	before := readOnlyStays.Swap(int64(d))
	t.Cleanup(func() { readOnlyStays.Store(before) })
}

// RenewAgain sets, until the test's end, the least time between two renewals.
func RenewAgain(t *testing.T, d time.Duration) {
	usual := renewAgain
	t.Cleanup(func() { renewAgain = usual })
	renewAgain = d
}

// ResolvedFor sets, until the test's end, how long an answer of the resolver is good.
func ResolvedFor(t *testing.T, d time.Duration) {
	usual := resolvedFor.Swap(int64(d))
	t.Cleanup(func() { resolvedFor.Store(usual) })
}

// Resolve is a resolver that asks somebody.
func Resolve(resolve Resolver) (ask func(context.Context, model.WorkspaceID) (string, error), forget func(...model.WorkspaceID), stop func()) {
	r := startResolver(&resolver{
		look: callResolver(resolve), atOnce: resolverCalls, idsAtOnce: 1, log: newSparseLog(slog.New(slog.DiscardHandler)),
	})
	return func(ctx context.Context, id model.WorkspaceID) (string, error) {
		p := r.ask(ctx, id)
		return p.database, p.err
	}, r.forget, r.stop
}

// SettingsReadEvery changes how often a table of settings is read, until the test's end.
func SettingsReadEvery(t *testing.T, d time.Duration) {
	before := settingsReadEvery.Swap(int64(d))
	t.Cleanup(func() { settingsReadEvery.Store(before) })
}
