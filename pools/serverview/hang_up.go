package serverview

import (
	"context"
	"io"
	"time"

	"github.com/jackc/pgx/v5"
)

// hangUp closes a connection and returns when the server is rid of it, so that
// whoever looks next does not find it. Reserved connections are few.
func hangUp(conn *pgx.Conn) {
	ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
	defer stop()
	raw, err := conn.PgConn().Hijack()
	if err != nil { // busy or broken: nothing can be waited for
		_ = conn.Close(ctx)
		return
	}
	defer func() { _ = raw.Conn.Close() }()
	deadline, _ := ctx.Deadline()
	_ = raw.Conn.SetDeadline(deadline)
	terminate := []byte{'X', 0, 0, 0, 4}
	if _, err := raw.Conn.Write(terminate); err == nil {
		_, _ = io.Copy(io.Discard, raw.Conn) // the backend's exit is the end of the stream
	}
}
