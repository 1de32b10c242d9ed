package pools

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantpool/tenantpool/model"
)

// because says more of a failed statement than pgx does. Where the session has ended,
// and not by us, errors.Is finds model.ErrConnectionLost. Where the server cancelled
// the statement for its context (see cancelHandler) it finds context.DeadlineExceeded
// or context.Canceled, as it does with pgx's own handling.
func (b *backend) because(ctx context.Context, err error) error {
	var said *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case b.lostBy(ctx, err):
		return fmt.Errorf("%w: %w", model.ErrConnectionLost, err)
	case ctx.Err() != nil && errors.As(err, &said) && said.Code == pgerrcode.QueryCanceled && !errors.Is(err, ctx.Err()):
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return err
}

// lostBy tells whether a statement failed with err because the server or the network
// ended the session. A network that is silent after ctx has ended is none of it: the
// context's end says more.
func (b *backend) lostBy(ctx context.Context, err error) bool {
	if errors.Is(err, model.ErrConnectionLost) {
		return false // it says so already
	}
	var said *pgconn.PgError
	if errors.As(err, &said) {
		return endsSession(said)
	}
	var network net.Error
	return ctx.Err() == nil && b.network.last().lost.Load() &&
		(errors.As(err, &network) || pgconn.SafeToRetry(err) || isAny(err, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, driver.ErrBadConn))
}
