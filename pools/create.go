package pools

import (
	"context"
	"fmt"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
)

// CreateWorkspace creates the workspace's database, with CREATE DATABASE over the
// system database; the role needs the right CREATEDB. It can be acquired at once,
// also if it was asked for in vain a moment ago. Who creates first wins: for all
// others the error wraps model.ErrWorkspaceExists. A pause is not ended.
//
// The database is a copy of template1, or of what model.FromTemplate or
// model.FromWorkspace names. With [WithInit] it is a workspace only after its init has
// succeeded, also if the process is killed before.
//
// The error is a *model.WorkspaceIDError for a bad id; it wraps a *model.SQLError
// when the server refuses, model.ErrNoWorkspace when the workspace to copy has no
// database, the init's error, and otherwise is one of Acquire's. When ctx is done while
// leases of the workspace to copy are out, it wraps ctx.Err().
func (m *Manager) CreateWorkspace(ctx context.Context, id model.WorkspaceID, opts ...model.CreateOption) error {
	c, err := m.creation(ctx, id, opts)
	if err != nil {
		return fmt.Errorf("create workspace: %w", err)
	}
	if err := c.create(ctx); err != nil {
		return fmt.Errorf("create workspace %q: %w", id, err)
	}
	m.catalogue.changes.Add(1)
	m.types.forget(id)
	m.resolver.forget(id)
	// Created is created: ctx may end now.
	ctx, stop := afterwards(ctx)
	defer stop()
	return m.supervisor.Retry(ctx, workspaceShare, id)
}

// WithInit has CreateWorkspace run f on the new database, before anybody else gets it:
// to create its schema, for example. f has a connection of its own, which counts against
// the budget, and may use it until it returns. Nothing but ctx bounds how long that
// takes. If f fails or panics, the database is dropped.
//
// Until f has succeeded the database has another name, <prefix>_new_<time>_<random>.
// Two processes that create one workspace may therefore both run their f; one of them
// wins. What a killed process leaves behind is dropped by the next CreateWorkspace
// with an init, once it is an hour old and nobody is connected to it.
func WithInit(f func(ctx context.Context, conn *Conn) error) model.CreateOption { return withInit(f) }

type withInit func(context.Context, *Conn) error

// ForCreate marks a model.CreateOption.
func (withInit) ForCreate() {}

// creation is one database to create.
type creation struct {
	m        *Manager
	id       model.WorkspaceID
	name     string
	template string            // "": template1
	source   model.WorkspaceID // whose database the template is, or ""
	init     withInit
}

func (m *Manager) creation(ctx context.Context, id model.WorkspaceID, opts []model.CreateOption) (*creation, error) {
	err := m.valid(id)
	if err != nil {
		return nil, err
	}
	c := &creation{m: m, id: id}
	for _, opt := range opts {
		template := c.template
		switch opt := opt.(type) {
		case model.FromTemplate:
			c.template, err = string(opt), mayBeTemplate(string(opt), m.config.SystemDatabase)
		case model.FromWorkspace:
			c.source = model.WorkspaceID(opt)
			c.template, err = m.databaseNow(ctx, c.source)
		case withInit:
			if opt == nil || c.init != nil {
				return nil, fmt.Errorf("workspace %q: WithInit takes one function that is not nil", id)
			}
			c.init = opt
		default:
			return nil, fmt.Errorf("workspace %q: %T is not an option of it; use FromTemplate, FromWorkspace or WithInit", id, opt)
		}
		if err == nil && template != "" && template != c.template {
			err = &model.SQLError{Code: pgerrcode.SyntaxError, Message: "a database is copied from one template, and two are given"}
		}
		if err != nil {
			return nil, fmt.Errorf("workspace %q: %w", id, err)
		}
	}
	return c, nil
}

// mayBeTemplate refuses a name that the server would cut, and the system database:
// whoever may use the copy would see what is in that.
func mayBeTemplate(name, system string) error {
	switch {
	case name == "", len(name) > model.MaxNameLength:
		return &model.SQLError{Code: pgerrcode.InvalidName, Message: fmt.Sprintf(
			"the template's name %q has %d bytes; it must have 1 to %d", name, len(name), model.MaxNameLength)}
	case name == system:
		return &model.SQLError{Code: pgerrcode.InsufficientPrivilege, Message: fmt.Sprintf(
			"%q is the system database (DB_NAME), which is no template: make another one", name)}
	}
	return nil
}

func (c *creation) create(ctx context.Context) error {
	end, err := c.m.turns.take(ctx, c.id)
	if err != nil {
		return err
	}
	defer end()
	if c.m.table == nil {
		c.name, err = c.m.databaseNow(ctx, c.id)
	} else {
		c.name, err = c.m.table.assign(ctx, c.id)
	}
	if err != nil {
		return err
	}
	if err := c.createNamed(ctx); err != nil || c.m.table == nil {
		return err
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), inUseAtMost)
	defer stop()
	return c.m.table.confirm(ctx, c.id, c.name)
}

func (c *creation) createNamed(ctx context.Context) error {
	if c.init == nil {
		return c.createDatabase(ctx, c.name)
	}
	// The server refuses it in the end, but its init would have run in vain.
	if there, err := c.m.hasDatabase(ctx, c.name); err != nil {
		return err
	} else if there {
		return exists(c.name)
	}
	c.m.dropUnfinished(ctx)
	unfinished := newUnfinished(c.m.config.Prefix, c.id)
	if err := c.createDatabase(ctx, unfinished.database); err != nil {
		return err
	}
	return c.finish(ctx, unfinished)
}

func exists(database string) error { return fmt.Errorf("%w (%q)", model.ErrWorkspaceExists, database) }

// createDatabase is atomic: the server shows a new database when it is complete.
func (c *creation) createDatabase(ctx context.Context, name string) error {
	sql := "CREATE DATABASE " + pgx.Identifier{name}.Sanitize()
	if c.template != "" {
		sql += " TEMPLATE " + pgx.Identifier{c.template}.Sanitize()
	}
	create := func() error {
		err := c.m.administer(ctx, sql)
		if hasCode(err, pgerrcode.DuplicateDatabase, pgerrcode.UniqueViolation) { // the latter when two create it at once
			return exists(name)
		}
		return err
	}
	if c.source == "" {
		return create()
	}
	return c.copying(ctx, create)
}

// copying runs create while nobody is connected to the workspace that is copied.
func (c *creation) copying(ctx context.Context, create func() error) error {
	if there, err := c.m.hasDatabase(ctx, c.template); err != nil {
		return err
	} else if !there {
		return fmt.Errorf("the workspace to copy, %q: %w (%q)", c.source, model.ErrNoWorkspace, c.template)
	}
	if c.source == c.id {
		return exists(c.name)
	}
	return c.m.alone(ctx, func() error {
		if err := c.m.othersLeave(ctx, c.template, "end them"); err != nil {
			return err
		}
		return create()
	}, c.source)
}

// finish runs the init, and makes the database the workspace's by renaming it, for
// which nobody may be connected. Of several who do so at once the server lets one.
// Whatever else happens, the database is dropped.
func (c *creation) finish(ctx context.Context, u unfinished) (err error) {
	m, renamed := c.m, false
	defer func() {
		if renamed {
			return
		}
		ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), inUseAtMost)
		defer stop()
		_, left := m.supervisor.Pause(ctx, workspaceShare, u.id)
		if left == nil {
			left = m.administer(ctx, "DROP DATABASE IF EXISTS "+pgx.Identifier{u.database}.Sanitize())
		}
		if left != nil {
			m.log.Warn("The database of a workspace that was not created is left behind", "database", u.database, "error", left.Error())
		}
		_ = m.resume(ctx, u.id)
	}()
	if err := m.initialise(ctx, u, c.init); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	if _, err := m.supervisor.Pause(ctx, workspaceShare, u.id); err != nil {
		return err
	}
	err = m.renameDatabase(ctx, u.database, c.name, "")
	if err == nil {
		renamed = true
		ctx, stop := afterwards(ctx)
		defer stop()
		_ = m.resume(ctx, u.id)
	}
	return err
}

// initialise runs the init with a connection that is closed afterwards.
func (m *Manager) initialise(ctx context.Context, u unfinished, init withInit) error {
	lease, err := m.supervisor.Acquire(ctx, workspaceShare, u.id, actor.Wait{Exclusive: true})
	if err != nil {
		m.noteLimit(u.id, err)
		return err
	}
	conn := newConn(lease)
	conn.backend.dirty = true
	defer conn.Release()
	return init(ctx, conn)
}
