package door

import (
	"context"
	"fmt"
	"net"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenantpool/tenantpool/model"
)

// Dial opens a connection of this process to a workspace: a pipe at whose other end is the
// door. Whoever speaks PostgreSQL's protocol over it needs no password, and whatever
// database it asks for, it gets this one. TLS is not offered.
func (d *Door) Dial(_ context.Context, id model.WorkspaceID) (net.Conn, error) {
	if err := id.Validate(); err != nil {
		return nil, fmt.Errorf("door: %w", err)
	}
	if d.stopped.Load() {
		return nil, fmt.Errorf("door: %w", model.ErrClosed)
	}
	ours, theirs := net.Pipe()
	go d.welcomeInProcess(ours, id)
	return theirs, nil
}

// DialFunc is Dial for pgx.
func (d *Door) DialFunc(id model.WorkspaceID) pgconn.DialFunc {
	return func(ctx context.Context, _, _ string) (net.Conn, error) { return d.Dial(ctx, id) }
}

// Pool makes a *pgxpool.Pool of a workspace, for libraries that name that type: what it calls
// connections are clients of the door, which share the budget and hold a connection of the
// server for a transaction at a time. configure may change its configuration. The caller closes
// it. It does not connect by itself.
func (d *Door) Pool(ctx context.Context, id model.WorkspaceID, configure ...func(*pgxpool.Config)) (*pgxpool.Pool, error) {
	if err := id.Validate(); err != nil {
		return nil, fmt.Errorf("door: %w", err)
	}
	config, err := pgxpool.ParseConfig("host=localhost port=5432 user=tenantpool password='' sslmode=disable dbname=" + string(id))
	if err != nil {
		return nil, fmt.Errorf("door: %w", err)
	}
	config.ConnConfig.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"localhost"}, nil }
	config.ConnConfig.DialFunc = d.DialFunc(id)
	for _, change := range configure {
		change(config)
	}
	return pgxpool.NewWithConfig(ctx, config)
}

// trusted lets in a program of this process.
type trusted struct{ grant Grant }

func (t trusted) begin(string, peer) exchange { return t }

func (t trusted) next([]byte) (pgproto3.BackendMessage, *Grant, error) { return nil, &t.grant, nil }

// welcomeInProcess serves one client of this process.
func (d *Door) welcomeInProcess(conn net.Conn, id model.WorkspaceID) {
	defer func() { _ = conn.Close() }()
	greeter := &greeter{lobby: d.greeter.lobby, authenticator: trusted{Grant{User: "in process", Workspaces: []string{string(id)}}}, within: d.greeter.within}
	leave := d.greeter.lobby.enter(conn)
	in, cancel, err := greeter.greet(context.Background(), conn)
	leave()
	switch {
	case err != nil:
		d.log.Debug("A client in this process did not come in", "workspace_id", id, "error", err.Error())
	case cancel != nil:
		d.cancel(cancel)
	default:
		in.database, in.workspace = string(id), id
		d.admit(in)
	}
}
