// Package libpq opens a *sql.DB of lib/pq's on a workspace, through a door in the same
// process.
package libpq

import (
	"context"
	"database/sql"
	"net"
	"time"

	"github.com/lib/pq"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools/door"
)

// Open makes one; the caller closes it. Its connections are clients of the door.
func Open(d *door.Door, id model.WorkspaceID) (*sql.DB, error) {
	connector, err := pq.NewConnector("host=localhost user=app sslmode=disable dbname=" + string(id))
	if err != nil {
		return nil, err
	}
	connector.Dialer(dialer{d, id})
	return sql.OpenDB(connector), nil
}

// dialer is a pq.Dialer.
type dialer struct {
	door *door.Door
	id   model.WorkspaceID
}

func (d dialer) Dial(string, string) (net.Conn, error) {
	return d.door.Dial(context.Background(), d.id)
}

func (d dialer) DialTimeout(_, _ string, _ time.Duration) (net.Conn, error) {
	return d.door.Dial(context.Background(), d.id)
}
