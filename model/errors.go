package model

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrClosed: the manager is closing or closed and lends nothing any more.
	ErrClosed = errors.New("tenantpool: the manager is closed; open a new one to go on")
	// ErrPaused: the workspace was paused by an operator, or in exclusive use, for as
	// long as the acquire could wait.
	ErrPaused = errors.New("the workspace is paused, or in exclusive use; it is served again after that")
	// ErrInUse: an exclusive acquire ended while the workspace had other connections,
	// or another exclusive one came before it.
	ErrInUse = errors.New("others still use the workspace; try again when they have released their connections")
	// ErrDialing: the acquire ended while its connection was still being opened
	// (or was next in line for that).
	ErrDialing = errors.New("its connection was still being opened; allow more time, or check the server's load")
	// ErrConnectionLost: the session ended while its holder used it, and neither the
	// holder nor the manager ended it.
	ErrConnectionLost = errors.New("the server or the network ended the connection, and the statement may have been carried out; check before you send it again")
	// ErrWorkspaceExists, ErrNoWorkspace: a workspace that is to be created has a
	// database already, or one that is to be deleted has none.
	ErrWorkspaceExists = errors.New("the workspace has a database already")
	ErrNoWorkspace     = errors.New("the workspace has no database")
	// ErrNotKnown: a workspace without a connection or a pause is to be steered, and the
	// server does not say whether it has a database.
	ErrNotKnown = errors.New("nothing was done, because the server does not say whether the workspace has a database; try again when it answers")
	// ErrManyPauses: one more paused workspace would be too many to remember.
	ErrManyPauses = errors.New("too many workspaces are paused; resume some of them first")
	// ErrAcquireTimeout: Config.AcquireTimeout ended the acquire, not its context.
	ErrAcquireTimeout = errors.New("the acquire timeout (DB_ACQUIRE_TIMEOUT) is over")
)

// Limit names the limit that turned an acquire away.
type Limit uint8

const (
	// BudgetLimit: all slots of the budget are taken, and none is idle.
	BudgetLimit Limit = iota
	// WorkspaceLimit: the workspace holds as many as its cap allows.
	WorkspaceLimit
	// QueueLimit: too many waiters already.
	QueueLimit
	// BatchLimit: batch work holds as many connections as its share allows.
	BatchLimit
)

func (l Limit) String() string {
	switch l {
	case BudgetLimit:
		return "budget"
	case WorkspaceLimit:
		return "workspace"
	case QueueLimit:
		return "queue"
	case BatchLimit:
		return "batch"
	}
	return "unknown"
}

// ConnectionLimitError says that a connection limit turned an acquire away: at
// once (AcquireTimeout 0, or a full queue), or when its time ended.
// All counts are of the moment of the refusal.
type ConnectionLimitError struct {
	// MaxConnections is the budget: the slots that all workspaces share.
	MaxConnections int
	// CurrentConnections is how many slots were taken: in use, idle, dialing or
	// closing.
	CurrentConnections int
	// EffectiveBudget is MaxConnections, or less while the server refuses more
	// (SQLSTATE 53300).
	EffectiveBudget int
	// Lingering is how many of them were told to close some time ago, and the server
	// has not let go of them yet: it, or the network, does not answer.
	Lingering int
	// ServerSilent: of late the server, or the network before it, has answered none of the
	// manager's own questions, so that connections are held for longer than their holders
	// mean to.
	ServerSilent bool
	// Shared: MaxConnections is what this replica may have at present of a budget that
	// several share (DB_SHARED_BUDGET), and DB_MAX_CONNECTIONS does not change it.
	Shared      bool
	WorkspaceID WorkspaceID
	// Limit is which limit it was.
	Limit Limit
	// MaxPerWorkspace is the cap, CurrentWorkspace what this workspace held.
	MaxPerWorkspace, CurrentWorkspace int
	// MaxBatch is how many connections batch work may hold, CurrentBatch what it held.
	MaxBatch, CurrentBatch int
	// Waiting is how many acquires waited, the refused one included;
	// WaitingWorkspace the same for its workspace.
	Waiting, WaitingWorkspace int
	// LongestLease is how long the oldest lease had been held, by
	// LongestLeaseWorkspace. If the workspace is at its own cap, only its own leases
	// count. Zero when there is none.
	LongestLease          time.Duration
	LongestLeaseWorkspace WorkspaceID
	// Cause is what ended the wait: the context's error, ErrAcquireTimeout, or
	// nil when there was no wait.
	Cause error
}

func (e *ConnectionLimitError) Error() string {
	var limit, remedy string
	switch e.Limit {
	case WorkspaceLimit:
		limit = fmt.Sprintf("it holds %d of the %d connections one workspace may have", e.CurrentWorkspace, e.MaxPerWorkspace)
		remedy = "hold connections for a shorter time or raise DB_MAX_CONNECTIONS_PER_DB"
	case QueueLimit:
		limit = "the queue of waiters is full"
		remedy = "send fewer requests at once or raise DB_MAX_WAITERS and DB_MAX_WAITERS_PER_DB"
	case BatchLimit:
		limit = fmt.Sprintf("batch work holds %d of the %d connections that it may", e.CurrentBatch, e.MaxBatch)
		remedy = "work on fewer workspaces at once or raise DB_BATCH_SHARE"
	default:
		of, budget := "", "DB_MAX_CONNECTIONS"
		if e.Shared {
			of, budget = " that this replica may have of the shared budget", "the group's budget (tenantpool fence --budget)"
		}
		limit = fmt.Sprintf("%d of %d connections%s are taken and none is idle", e.CurrentConnections, e.MaxConnections, of)
		remedy = "hold connections for a shorter time or raise " + budget
		if e.EffectiveBudget < e.MaxConnections {
			limit += fmt.Sprintf(", and the server grants only %d at present", e.EffectiveBudget)
			remedy = "find out who else uses the server's connections, or lower " + budget
		}
		if e.Lingering > 0 {
			limit += fmt.Sprintf(", and the server has not let go of %d of them, which were closed", e.Lingering)
		}
	}
	if e.ServerSilent || e.Limit == BudgetLimit && 2*e.Lingering > e.CurrentConnections {
		remedy = "find out why the server, or the network before it, does not answer"
	}
	s := fmt.Sprintf("acquire workspace %q: connection limit reached: %s; %d waiting (%d for this workspace)",
		e.WorkspaceID, limit, e.Waiting, e.WaitingWorkspace)
	if e.LongestLease > 0 {
		s += fmt.Sprintf("; longest lease held for %v by workspace %q", e.LongestLease.Round(time.Microsecond), e.LongestLeaseWorkspace)
	}
	s += "; " + remedy
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap gives the Cause, so that errors.Is finds context.DeadlineExceeded or
// context.Canceled where the context ended.
func (e *ConnectionLimitError) Unwrap() error { return e.Cause }

// DialError says that no connection could be opened for a workspace.
type DialError struct {
	WorkspaceID WorkspaceID
	Kind        FailureKind
	// Attempts is how many dials in a row have failed; 0: nothing was dialed, because
	// the server's catalogue says that it would be refused, or the resolver does not say
	// which database is to be dialed.
	Attempts int
	// Err is the last failure. It holds no password and no DSN.
	Err error
}

func (e *DialError) Error() string {
	s := fmt.Sprintf("connect workspace %q: ", e.WorkspaceID)
	if e.Attempts > 1 {
		s += fmt.Sprintf("%d attempts failed, the last with: ", e.Attempts)
	}
	return s + e.Err.Error()
}

func (e *DialError) Unwrap() error { return e.Err }

// FailureKind sorts dial failures by what follows from them (rule 5).
type FailureKind uint8

const (
	// Transient: may pass; concerns this workspace only.
	Transient FailureKind = iota
	// Permanent: will not pass by waiting: no such database, login rejected,
	// no right to connect.
	Permanent
	// ServerDown: the server cannot be reached or takes no logins at all. What is
	// idle is to be verified before it is lent.
	ServerDown
	// ServerFull: the server has no slot left for us (SQLSTATE 53300).
	ServerFull
)

var failureKindNames = [...]string{"transient", "permanent", "server_down", "server_full"}

func (k FailureKind) String() string {
	if int(k) < len(failureKindNames) {
		return failureKindNames[k]
	}
	return "unknown"
}
