// Package migrate brings a workspace's database up to date with golang-migrate.
package migrate

import (
	"database/sql"
	"embed"
	"errors"

	"github.com/golang-migrate/migrate/v4"
	"github.com/golang-migrate/migrate/v4/database/pgx/v5"
	"github.com/golang-migrate/migrate/v4/source/iofs"

	"github.com/tenantpool/tenantpool/pools"
)

//go:embed migrations
var files embed.FS

// Up applies the migrations that the workspace lacks. Several may do so at once: the
// others wait for the first. It holds one connection from its begin to its end, whatever
// the workspace does meanwhile.
func Up(workspace *pools.Workspace) (err error) {
	source, err := iofs.New(files, "migrations")
	if err != nil {
		return err
	}
	// Close closes the *sql.DB, so it gets one of its own.
	db := sql.OpenDB(workspace.Connector())
	driver, err := pgx.WithInstance(db, &pgx.Config{})
	if err != nil {
		return errors.Join(err, source.Close(), db.Close())
	}
	migration, err := migrate.NewWithInstance("iofs", source, "pgx5", driver)
	if err != nil {
		return errors.Join(err, source.Close(), driver.Close())
	}
	defer func() {
		sourceErr, driverErr := migration.Close()
		err = errors.Join(err, sourceErr, driverErr)
	}()
	if err := migration.Up(); !errors.Is(err, migrate.ErrNoChange) {
		return err
	}
	return nil
}
