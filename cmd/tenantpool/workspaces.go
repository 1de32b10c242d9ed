package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sync/errgroup"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// template is the workspace whose database the others are copies of.
const template model.WorkspaceID = "template"

// tables are what each workspace has. Its only identity is the one row that says
// whose database this is: requests read it to check where they are.
var tables = []string{
	`CREATE TABLE orders (
		id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		item       text NOT NULL,
		quantity   int NOT NULL,
		created_at timestamptz NOT NULL DEFAULT now()
	)`,
	`CREATE TABLE identity (workspace text NOT NULL)`,
}

// creators is how many databases are in the making at once. The server has one
// checkpointer, and a copy is mostly waiting for it; while one copies, another's
// identity is written.
const creators = 2

// createWorkspaces creates the workspaces' databases and what is in them, all
// through the manager: the databases over its system database.
func createWorkspaces(ctx context.Context, manager *pools.Manager, prefix string, n int, con *console) ([]model.WorkspaceID, error) {
	naming := pools.PrefixNaming(prefix)
	from, err := createTemplate(ctx, manager, naming)
	if err != nil {
		return nil, err
	}
	ids := workspaceIDs(n)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(creators)
	created := make(chan struct{})
	go func() {
		defer close(created)
		for _, id := range ids {
			group.Go(func() error { // blocks while the limit is reached
				err := createWorkspace(ctx, manager, naming, from, id)
				created <- struct{}{}
				return err
			})
		}
		_ = group.Wait() // below is the error
	}()
	con.progress("creating workspaces", n, created)
	return ids, group.Wait()
}

// createTemplate returns the clause that copies it.
func createTemplate(ctx context.Context, manager *pools.Manager, naming pools.Naming) (from string, err error) {
	database, err := naming(template)
	if err != nil {
		return "", err
	}
	if _, err := manager.System().Exec(ctx, "CREATE DATABASE "+quoted(database)); err != nil {
		return "", fmt.Errorf("create the template database: %w", err)
	}
	for _, table := range tables {
		if _, err := manager.Workspace(template).Exec(ctx, table); err != nil {
			return "", fmt.Errorf("create the template's tables: %w", err)
		}
	}
	// The server copies only databases that nobody is connected to.
	if _, err := manager.Evict(ctx, template); err != nil {
		return "", err
	}
	from = " TEMPLATE " + quoted(database)
	var version int
	err = manager.System().QueryRow(ctx, "SELECT current_setting('server_version_num')::int").Scan(&version)
	if err != nil {
		return "", fmt.Errorf("ask for the server's version: %w", err)
	}
	if version >= 150_000 {
		// The only way before 15. Without fsync it takes less than half the time
		// of the new one.
		from += " STRATEGY file_copy"
	}
	return from, nil
}

func createWorkspace(ctx context.Context, manager *pools.Manager, naming pools.Naming, from string, id model.WorkspaceID) error {
	database, err := naming(id)
	if err != nil {
		return err
	}
	if _, err := manager.System().Exec(ctx, "CREATE DATABASE "+quoted(database)+from); err != nil {
		return fmt.Errorf("create the database of workspace %q: %w%s", id, err, remedy(err))
	}
	if _, err := manager.Workspace(id).Exec(ctx, "INSERT INTO identity (workspace) VALUES ($1)", string(id)); err != nil {
		return fmt.Errorf("write the identity of workspace %q: %w%s", id, err, remedy(err))
	}
	return nil
}

// remedy says what helps against a full disk, the one thing that is likely to go
// wrong here.
func remedy(err error) string {
	if sqlState(err) == "53100" {
		return "; use fewer --workspaces, or set TMPDIR to a folder on a larger disk"
	}
	return ""
}

// sqlState is the server's code for an error, or empty.
func sqlState(err error) string {
	var server interface{ SQLState() string }
	if errors.As(err, &server) {
		return server.SQLState()
	}
	return ""
}

// quoted makes an SQL identifier of a database's name, which cannot hold a
// quote: ids and prefix have none.
func quoted(name string) string { return `"` + name + `"` }

func workspaceIDs(n int) []model.WorkspaceID {
	ids := make([]model.WorkspaceID, n)
	digits := max(2, len(strconv.Itoa(n)))
	for i := range ids {
		ids[i] = model.WorkspaceID(fmt.Sprintf("customer-%0*d", digits, i+1))
	}
	return ids
}
