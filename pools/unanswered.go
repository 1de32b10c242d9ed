package pools

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantpool/tenantpool/model"
)

// unanswered is when the server last left a dial or a ping without an answer, in
// nanoseconds since 1970; 0: it has answered since. It decides nothing: it is a hint for
// whoever reads why a limit was reached.
type unanswered struct{ at atomic.Int64 }

// silentFor is how long one silence counts: longer than whoever looks at /readyz takes
// to look again, and than dials back off.
const silentFor = 30 * time.Second

// heard is told what became of a dial or a ping.
func (u *unanswered) heard(err error) {
	var said *pgconn.PgError
	var limit *model.ConnectionLimitError
	var dial *dialFailure
	var withoutCredentials *credentialsError
	switch {
	case errors.As(err, new(*hookError)):
		// The program's failure says nothing about the server.
	case err == nil, errors.As(err, &said):
		u.at.Store(0)
	case errors.As(err, &limit), errors.Is(err, context.Canceled), errors.Is(err, model.ErrClosed),
		errors.As(err, &withoutCredentials):
		// It was not asked, or not for long enough.
	case errors.As(err, &dial) && dial.kind == model.Permanent:
		// It answers, and not as it should: with a certificate that is no good.
	default:
		u.at.Store(time.Now().UnixNano())
	}
}

// lately tells whether the server is silent, as far as is known.
func (u *unanswered) lately() bool {
	at := u.at.Load()
	return at != 0 && time.Since(time.Unix(0, at)) < silentFor
}
