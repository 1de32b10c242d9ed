package pools

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/model"
)

// WithSettingsTable has a table of the system database say the settings of the workspaces
// that differ, as Config.SettingsTable does. name is that of the table, with its schema or
// without. It is the application's to create, and the role may SELECT, INSERT, UPDATE and
// DELETE in it:
//
//	CREATE TABLE workspace_settings (
//	    workspace_id         text COLLATE "C" PRIMARY KEY,
//	    max_connections      integer,
//	    soft_max_connections integer,
//	    max_waiters          integer,
//	    acquire_timeout_ms   bigint,
//	    role                 text,
//	    statement_timeout_ms bigint
//	)
//
// NULL, 0 and the empty text mean: as the Config says. It may have more columns, with
// defaults, and at most 100,000 rows: it is read whole, when the Manager meets the server
// and then every five seconds, over the manager's own connection, and kept in memory. So an
// acquire never waits for it. What has changed then holds at once, as
// [Manager.SetWorkspaceSettings] says.
//
// A table that cannot be read at the start is an error of Open. Later the last good values
// stay, and the log says so once; the same is true of a single row that is not valid. Such a
// row that never had a good value refuses its workspace's acquires: without its role the
// workspace would have too many rights.
//
// DropWorkspace deletes the workspace's row, and RenameWorkspace gives it the new id, in the
// transaction that renames; other processes have that within five seconds.
func WithSettingsTable(name string) Option {
	return func(o *options) { o.settingsTable = name }
}

// settingsRowsAtMost bounds the memory; settingsReadAtMost the time for which a read has the
// manager's own connection.
const (
	settingsRowsAtMost = 100_000
	settingsReadAtMost = 2 * time.Second
)

// settingsReadEvery is how often the table is read.
var settingsReadEvery atomic.Int64

func init() { settingsReadEvery.Store(int64(5 * time.Second)) }

// settingsTable keeps what the table said last. Whoever meets the server reads it first;
// then it is one goroutine's.
type settingsTable struct {
	table
	// rows are never changed: another reading puts others in their place.
	rows atomic.Pointer[map[model.WorkspaceID]settingsRow]
	// again asks the goroutine to read at once.
	again chan chan error
	done  chan struct{}
	// told is what was last complained of.
	told string
}

type settingsRow struct {
	WorkspaceSettings
	// err is why there are none.
	err error
}

func newSettingsTable(of table) *settingsTable {
	return &settingsTable{table: of, again: make(chan chan error), done: make(chan struct{})}
}

// of does not block.
func (t *settingsTable) of(_ context.Context, id model.WorkspaceID) (WorkspaceSettings, error) {
	rows := t.rows.Load()
	if rows == nil {
		return WorkspaceSettings{}, &model.DialError{WorkspaceID: id, Kind: model.ServerDown, Err: errNoAnswer}
	}
	row := (*rows)[id]
	return row.WorkspaceSettings, row.err
}

// watch reads the table again and again until ctx is done.
func (t *settingsTable) watch(ctx context.Context) {
	defer close(t.done)
	select {
	case <-t.m.answered: // the first reading is over
	case <-ctx.Done():
		return
	}
	for {
		timer := time.NewTimer(time.Duration(settingsReadEvery.Load()))
		var answer chan error
		select {
		case answer = <-t.again:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
		err := t.read(ctx)
		if err != nil && ctx.Err() == nil {
			t.complain(err)
		}
		if answer != nil {
			answer <- err // there is room
		}
	}
}

// complain logs what is wrong, once.
func (t *settingsTable) complain(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	switch {
	case text == t.told:
	case err == nil:
		t.m.log.Info("The table of settings is in order again", "table", t.name)
	default:
		t.m.log.Warn("The table of settings is not in order; the last good values stay", "error", text)
	}
	t.told = text
}

// settingsColumns is a row of the table.
type settingsColumns struct {
	ID                                          model.WorkspaceID
	Most, Soft, Waiters, AcquireMs, StatementMs int64
	Role                                        string
}

func (c settingsColumns) settings() (s WorkspaceSettings, err error) {
	const most = int64(1) << 40 // of milliseconds 34 years; more than Validate takes of the others
	number := func(n int64) int64 { return max(-1, min(n, most)) }
	s = WorkspaceSettings{
		MaxConnections: int(number(c.Most)), SoftMaxConnections: int(number(c.Soft)), MaxWaiters: int(number(c.Waiters)),
		AcquireTimeout: time.Duration(number(c.AcquireMs)) * time.Millisecond,
		Role:           c.Role, StatementTimeout: time.Duration(number(c.StatementMs)) * time.Millisecond,
	}
	if err := c.ID.Validate(); err != nil {
		return s, err
	}
	return s, s.Validate()
}

// read reads the table, and has what changed in force.
func (t *settingsTable) read(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, settingsReadAtMost)
	defer stop()
	all, err := askTable(ctx, t.table, pgx.RowToStructByPos[settingsColumns], `
		SELECT workspace_id::text, coalesce(max_connections, 0)::bigint, coalesce(soft_max_connections, 0)::bigint,
		       coalesce(max_waiters, 0)::bigint, coalesce(acquire_timeout_ms, 0)::bigint, coalesce(statement_timeout_ms, 0)::bigint,
		       coalesce(role, '')::text
		FROM %[1]s WHERE workspace_id IS NOT NULL LIMIT $1`, settingsRowsAtMost+1)
	if err == nil && len(all) > settingsRowsAtMost {
		err = fmt.Errorf("table %q has more than %d rows: leave those that differ from the Config", t.name, settingsRowsAtMost)
	}
	if err != nil {
		return err
	}
	var before map[model.WorkspaceID]settingsRow
	if last := t.rows.Load(); last != nil {
		before = *last
	}
	now := make(map[model.WorkspaceID]settingsRow, len(all))
	var wrong error // the first by id
	var wrongID model.WorkspaceID
	for _, c := range all {
		own, err := c.settings()
		if _, twice := now[c.ID]; twice && err == nil {
			err = errors.New("there are two of them: make workspace_id the primary key")
		}
		if err == nil {
			now[c.ID] = settingsRow{WorkspaceSettings: own}
			continue
		}
		err = fmt.Errorf("table %q, row of workspace %q: %w", t.name, c.ID, err)
		if last, was := before[c.ID]; was && last.err == nil {
			now[c.ID] = last
		} else {
			now[c.ID] = settingsRow{err: err}
		}
		if wrong == nil || c.ID < wrongID {
			wrong, wrongID = err, c.ID
		}
	}
	t.rows.Store(&now)
	t.complain(wrong)
	if before != nil {
		t.apply(ctx, before, now)
	}
	return nil
}

// apply has in force for what is open now what the next acquires and dials will ask for.
func (t *settingsTable) apply(ctx context.Context, before, now map[model.WorkspaceID]settingsRow) {
	change := func(id model.WorkspaceID, from, to WorkspaceSettings) {
		if limitsOf(from) != limitsOf(to) {
			_ = t.m.supervisor.SetWorkspaceLimits(ctx, workspaceShare, id, limitsOf(to)) // in force if ctx is done, too
		}
		if openingOf(from) != openingOf(to) {
			t.m.renewSoon(id)
		}
	}
	for id, row := range now {
		if last := before[id]; row.err == nil && row != last {
			change(id, last.WorkspaceSettings, row.WorkspaceSettings)
		}
	}
	for id, row := range before {
		if _, stays := now[id]; !stays {
			change(id, row.WorkspaceSettings, WorkspaceSettings{})
		}
	}
}

// SetWorkspaceSettings writes the workspace's row of the table of settings; zero settings
// delete it. When it returns they are in force in this process, and in others within five
// seconds. Beyond a lower MaxConnections idle connections close at once, lent ones when they
// are released; with another Role or StatementTimeout all of them do, and none is lent again
// as it was. It waits for the server, at most until ctx is done, but for nobody's lease.
//
// The error wraps errors.ErrUnsupported if there is no table (see [WithSettingsTable]), and
// is a *model.SettingsError for values that are not valid, or a *model.SQLError if the server
// refuses the role or the write; then nothing has changed. Otherwise it is one of Pause's. If
// the row is written and cannot be read again, the error says so.
func (m *Manager) SetWorkspaceSettings(ctx context.Context, id model.WorkspaceID, own WorkspaceSettings) error {
	if err := m.setSettings(ctx, id, own); err != nil {
		return fmt.Errorf("set the settings of workspace %q: %w", id, err)
	}
	return nil
}

func (m *Manager) setSettings(ctx context.Context, id model.WorkspaceID, own WorkspaceSettings) error {
	t := m.settingsTable
	if t == nil {
		return fmt.Errorf("%w: there is no table of settings: use WithSettingsTable or DB_SETTINGS_TABLE", errors.ErrUnsupported)
	}
	if err := m.valid(id); err != nil {
		return err
	}
	if err := own.Validate(); err != nil {
		return err
	}
	if err := m.met(id); err != nil {
		return err
	}
	if err := t.write(ctx, id, own); err != nil {
		return err
	}
	if err := t.readAgain(ctx); err != nil {
		return fmt.Errorf("they are written, but this process has not read them again yet: %w", err)
	}
	return nil
}

// readAgain returns when the goroutine has read the table, and what it says holds.
func (t *settingsTable) readAgain(ctx context.Context) error {
	answer := make(chan error, 1)
	select {
	case t.again <- answer:
		select {
		case err := <-answer:
			return err
		case <-t.done:
			return model.ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	case <-t.done:
		return model.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// release deletes the row of a workspace whose database is gone: who has the id next must not
// find the role of another. A nil table has none.
func (t *settingsTable) release(ctx context.Context, id model.WorkspaceID, database string) error {
	if t == nil {
		return nil
	}
	ctx, stop := afterwards(ctx)
	defer stop()
	rows, err := askTable(ctx, t.table, pgx.RowTo[string], `
		DELETE FROM %[1]s WHERE workspace_id = $1
		AND NOT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = $2::text) RETURNING ''`, string(id), database)
	if err == nil && len(rows) > 0 {
		err = t.readAgain(ctx)
	}
	if err != nil {
		return fmt.Errorf("its database is gone, but not its settings; drop it again for that: %w", err)
	}
	return nil
}

// renamed is the statement that moves the row, for the transaction that renames the workspace.
func (t *settingsTable) renamed(from, to model.WorkspaceID) string {
	return fmt.Sprintf(`UPDATE %s SET workspace_id = %s WHERE workspace_id = %s`, t.sql, literal(string(to)), literal(string(from)))
}

func literal(s string) string { return `'` + strings.ReplaceAll(s, `'`, `''`) + `'` }

// write asks first whether the server takes the role, for the time of that question.
func (t *settingsTable) write(ctx context.Context, id model.WorkspaceID, own WorkspaceSettings) error {
	none := pgx.RowTo[string]
	if own == (WorkspaceSettings{}) {
		_, err := askTable(ctx, t.table, none, `DELETE FROM %[1]s WHERE workspace_id = $1 RETURNING ''`, string(id))
		return err
	}
	if err := t.m.known(ctx, id); err != nil {
		return err
	}
	if own.Role != "" {
		if _, err := askOwn(ctx, t.m, none, `SELECT pg_catalog.set_config('role', $1, true)`, own.Role); err != nil {
			return fmt.Errorf("Role is %q: %w; name one that the login's role is a member of", own.Role, sqlError(err)) //nolint:staticcheck // a field's name
		}
	}
	_, err := askTable(ctx, t.table, none, `
		INSERT INTO %[1]s (workspace_id, max_connections, soft_max_connections, max_waiters, acquire_timeout_ms, role, statement_timeout_ms)
		VALUES ($1, nullif($2::bigint, 0), nullif($3::bigint, 0), nullif($4::bigint, 0), nullif($5::bigint, 0), nullif($6::text, ''), nullif($7::bigint, 0))
		ON CONFLICT (workspace_id) DO UPDATE SET
			max_connections = excluded.max_connections, soft_max_connections = excluded.soft_max_connections, max_waiters = excluded.max_waiters,
			acquire_timeout_ms = excluded.acquire_timeout_ms, role = excluded.role, statement_timeout_ms = excluded.statement_timeout_ms
		RETURNING ''`,
		string(id), own.MaxConnections, own.SoftMaxConnections, own.MaxWaiters, (own.AcquireTimeout + time.Millisecond - 1).Milliseconds(), own.Role, own.StatementTimeout.Milliseconds())
	return err
}
