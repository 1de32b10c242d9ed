// Package goose brings a workspace's database up to date with goose.
package goose

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"io/fs"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/tenantpool/tenantpool/pools"
)

//go:embed migrations
var files embed.FS

// Up applies the migrations that the workspace lacks. Several may do so at once: the
// others wait for the first. It holds two connections meanwhile, one of them for the
// lock, so the workspace's cap must be 2 or more.
func Up(ctx context.Context, workspace *pools.Workspace) (err error) {
	migrations, err := fs.Sub(files, "migrations")
	if err != nil {
		return err
	}
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return err
	}
	// The provider's Close closes the *sql.DB, so it gets one of its own.
	provider, err := goose.NewProvider(goose.DialectPostgres, sql.OpenDB(workspace.Connector()), migrations, goose.WithSessionLocker(locker))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, provider.Close()) }()
	_, err = provider.Up(ctx)
	return err
}
