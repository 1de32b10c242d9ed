package actor

import (
	"context"
	"errors"

	"github.com/tenantpool/tenantpool/model"
)

// Conn is a connection as the supervisor sees it.
type Conn interface {
	// Close ends the connection and returns when the server has let go of its
	// slot, however long that takes. It is called once, on a goroutine of its
	// own.
	Close(reason model.CloseReason)
}

// Dialer opens the connections of one share.
type Dialer interface {
	// Dial opens a connection to the workspace's database and tests it. It is
	// called on a goroutine of its own. It returns in bounded time, and soon
	// after ctx is done.
	//
	// An error that has a method FailureKind() model.FailureKind says what
	// follows from it; any other is model.Transient. With an error, a Conn that
	// is not nil stands for a slot that the server may still hold: it will be
	// closed.
	Dial(ctx context.Context, id model.WorkspaceID) (Conn, error)
}

// Share is one budget and who dials for it.
type Share struct {
	Limits model.Limits
	Dialer Dialer
	// System marks the events of this share.
	System bool
}

// ShareIndex says which of the shares given to [Start] is meant.
type ShareIndex int

// failureKind sorts a Dialer's error.
func failureKind(err error) model.FailureKind {
	var kind interface{ FailureKind() model.FailureKind }
	if errors.As(err, &kind) {
		return kind.FailureKind()
	}
	return model.Transient
}
