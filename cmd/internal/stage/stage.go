// Package stage is what the demo, the bench and their tests play on: one server with
// a database for each workspace, the traffic of a web application, and the terminal
// where they tell how far they are.
//
// It knows PostgreSQL through pgx and starts it with localpg; what is compared or
// shown on it is for others to decide.
package stage

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/localpg"
	"github.com/tenantpool/tenantpool/pools/replicas"
	"github.com/tenantpool/tenantpool/pools/serverview"
)

// Options say what to set up.
type Options struct {
	Workspaces int
	// Budget is DB_MAX_CONNECTIONS, the system database's share included; a throwaway
	// server grants exactly that. Cap is how many of them one workspace may have; 0 is
	// the default.
	Budget, Cap int
	// Workers is how many requests may wait at once, even for the same workspace.
	Workers int
	// Tables are what each database has.
	Tables []string
	// DSN is the server; empty: a throwaway one.
	DSN string
}

// Stage is a server with its databases.
type Stage struct {
	Config model.Config    // tenantpool's way to the server
	Login  *pgx.ConnConfig // the same way, for others
	// Observer is the DSN of who looks at the server: a superuser of the throwaway
	// server, and the role itself on another one.
	Observer string
	// Workspaces and Databases are in the same order.
	Workspaces []model.WorkspaceID
	Databases  []string

	local   *localpg.Server // nil: the server is the user's
	created []string        // to be dropped
}

// The server refuses the role when no more of max_connections are free than
// superuser_reserved_connections, whoever has the others. The observer has one for
// all the time, so this leaves the role the budget and not one more.
const (
	observers = 1
	reserved  = 2
)

// Set finds or starts the server and creates the databases. On an error nothing is
// left behind.
func Set(ctx context.Context, o Options, con *Console) (_ *Stage, err error) {
	s := &Stage{Config: model.DefaultConfig()}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close(con))
		}
	}()
	if o.DSN == "" {
		err = s.startServer(ctx, o.Budget, con)
	} else {
		err = s.useServer(ctx, o.DSN, o.Budget)
	}
	if err != nil {
		return nil, err
	}
	c := &s.Config
	c.Host, c.Port = s.Login.Host, int(s.Login.Port)
	c.User, c.Password = s.Login.User, s.Login.Password
	c.SystemDatabase = s.Login.Database
	c.MaxConnections = o.Budget
	if o.Cap > 0 {
		c.MaxConnectionsPerDB = o.Cap
	}
	c.MaxWaiters = max(c.MaxWaiters, o.Workers)
	c.MaxWaitersPerDB = max(c.MaxWaitersPerDB, o.Workers)

	began := time.Now()
	if err := s.createDatabases(ctx, o, con); err != nil {
		return nil, err
	}
	con.Printf("%s workspaces, each with a database of its own (%.1f s)", Grouped(o.Workspaces), time.Since(began).Seconds())
	return s, nil
}

// startServer starts a server that grants the role exactly the budget. Its log has a
// line for each login that was refused, and hardly any other.
func (s *Stage) startServer(ctx context.Context, budget int, con *Console) (err error) {
	forgetOtherServers()
	began := time.Now()
	con.Show("starting PostgreSQL ...")
	most := budget + observers + reserved
	s.local, err = localpg.Start(ctx, localpg.Options{
		MaxConnections: most,
		Settings: map[string]string{
			"superuser_reserved_connections": fmt.Sprint(reserved),
			"log_min_messages":               "fatal",
			"log_line_prefix":                "%m [%p] %e ",
			"max_wal_size":                   "256MB", // bounds the disk that a long run takes
		},
	})
	con.Show("")
	if err != nil {
		return err
	}
	con.Printf("PostgreSQL is up, max_connections %d: %d for the role, %d for its observer, %d reserved (%.1f s)",
		most, budget, observers, reserved, time.Since(began).Seconds())
	s.Observer = s.local.SuperuserDSN()
	s.Config.SSLMode = "disable" // it has no certificate
	s.Login, err = pgx.ParseConfig(fmt.Sprintf("host=%s port=%d user=%s password=%s dbname=%s sslmode=disable",
		s.local.Host, s.local.Port, s.local.User, s.local.Password, s.local.Database))
	if err != nil { // the cause would show the password
		return errors.New("the throwaway server's address is no good")
	}
	return nil
}

// forgetOtherServers unsets the variables that tell PostgreSQL's clients where and
// how to connect (PGSERVICE, PGOPTIONS and so on). They are about the user's
// servers, and connections to our own would heed them.
func forgetOtherServers() {
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if strings.HasPrefix(name, "PG") && name != "PG_BIN" { // that is localpg's
			_ = os.Unsetenv(name)
		}
	}
}

// useServer makes the user's server the stage. It must have room for the budget:
// otherwise everybody would be refused, and the figures mean nothing.
func (s *Stage) useServer(ctx context.Context, dsn string, budget int) error {
	login, err := pgx.ParseConfig(dsn)
	if err != nil { // the cause would show the DSN
		return errors.New("--dsn is not understood: it must be like postgres://user@host:5432/database or host=... user=... dbname=...; PGPASSWORD or a password file may hold the password")
	}
	s.Login, s.Observer = login, dsn
	s.Config.SSLMode = sslMode(dsn)
	conn, err := pgx.ConnectConfig(ctx, login)
	if err != nil {
		return fmt.Errorf("--dsn: %w", err) // pgx leaves out the password
	}
	defer HangUp(conn)
	var granted int
	var mayCreate bool
	const ask = `SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
		rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = session_user`
	if err := conn.QueryRow(ctx, ask).Scan(&granted, &mayCreate); err != nil {
		return fmt.Errorf("--dsn: ask the server what it grants: %w", err)
	}
	switch {
	case !mayCreate:
		return fmt.Errorf("--dsn: the role %q may not create databases: grant it CREATEDB, or use another role", login.User)
	case granted < budget+observers:
		return fmt.Errorf("--dsn: the server grants %d connections, which is less than the --budget of %d and one to watch it: lower --budget, or raise max_connections",
			granted, budget)
	}
	return nil
}

var sslModeSetting = regexp.MustCompile(`\bsslmode\s*=\s*'?([a-z-]+)`)

// sslMode is what pgx does not tell of a DSN that it has read.
func sslMode(dsn string) string {
	if u, err := url.Parse(dsn); err == nil && u.Query().Get("sslmode") != "" {
		return u.Query().Get("sslmode")
	}
	if found := sslModeSetting.FindStringSubmatch(dsn); found != nil {
		return found[1]
	}
	if mode := os.Getenv("PGSSLMODE"); mode != "" {
		return mode
	}
	return model.DefaultConfig().SSLMode
}

// createDatabases makes the workspaces. On a user's server their names begin with
// tenantpool_bench_ and what is of this run only, so that no run meets another's.
func (s *Stage) createDatabases(ctx context.Context, o Options, con *Console) error {
	if s.local == nil {
		s.Config.Prefix = "tenantpool_bench_" + strings.ToLower(rand.Text()[:8])
	}
	if err := s.name(o.Workspaces); err != nil {
		return err
	}
	from, err := s.template(ctx, o.Tables)
	if err != nil {
		return err
	}
	s.created, err = s.each(ctx, s.Databases, "creating workspaces", con, func(ctx context.Context, conn *pgx.Conn, database string) error {
		_, err := conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{database}.Sanitize()+from)
		if sqlState(err) == pgerrcode.DiskFull { // the one thing that is likely to go wrong
			return fmt.Errorf("create a database for each workspace: %w; use fewer --workspaces, or set TMPDIR to a folder on a larger disk", err)
		}
		if err != nil {
			return fmt.Errorf("create a database for each workspace: %w", err)
		}
		return nil
	})
	return err
}

// name names the workspaces and their databases.
func (s *Stage) name(workspaces int) error {
	name := pools.PrefixNaming(s.Config.Prefix)
	digits := max(2, len(strconv.Itoa(workspaces)))
	for i := range workspaces {
		id := model.WorkspaceID(fmt.Sprintf("customer-%0*d", digits, i+1))
		database, err := name(id)
		if err != nil {
			return err
		}
		s.Workspaces = append(s.Workspaces, id)
		s.Databases = append(s.Databases, database)
	}
	return nil
}

// Enter is the stage that another process has set, for traffic of one's own.
func Enter(cfg model.Config, workspaces int) (*Stage, error) {
	s := &Stage{Config: cfg}
	return s, s.name(workspaces)
}

// Fence sets the CONNECTION LIMIT of a throwaway server's role to the budget.
func (s *Stage) Fence(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.Observer)
	if err != nil {
		return err
	}
	defer HangUp(conn)
	return replicas.SetFence(ctx, conn, s.Login.User, s.Config.MaxConnections)
}

// template is the clause that copies a database with the tables: template0 without
// any, because nobody is ever connected to that. The throwaway server copies files,
// which is the only way before PostgreSQL 15 and, without fsync, the faster one; on a
// user's server that would force checkpoints.
func (s *Stage) template(ctx context.Context, tables []string) (clause string, err error) {
	if s.local == nil {
		return " TEMPLATE template0", nil
	}
	conn, err := pgx.ConnectConfig(ctx, s.Login)
	if err != nil {
		return "", err
	}
	defer HangUp(conn)
	var version int
	if err := conn.QueryRow(ctx, "SELECT current_setting('server_version_num')::int").Scan(&version); err != nil {
		return "", fmt.Errorf("ask for the server's version: %w", err)
	}
	if version >= 150_000 {
		clause = " STRATEGY file_copy"
	}
	if len(tables) == 0 {
		return " TEMPLATE template0" + clause, nil
	}
	const name = "template_of_workspaces"
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+name+" TEMPLATE template0"+clause); err != nil {
		return "", fmt.Errorf("create the template database: %w", err)
	}
	login := s.Login.Copy()
	login.Database = name
	inside, err := pgx.ConnectConfig(ctx, login)
	if err != nil {
		return "", err
	}
	defer HangUp(inside) // CREATE DATABASE waits until it is gone
	for _, table := range tables {
		if _, err := inside.Exec(ctx, table); err != nil {
			return "", fmt.Errorf("create the template's tables: %w", err)
		}
	}
	return " TEMPLATE " + name + clause, nil
}

// creators is how many databases are in the making at once: one is copied while
// another waits for the server's one checkpointer.
const creators = 2

// each calls do for each of the databases, a few at a time, and returns those for
// which it went well. A statement under way is not interrupted, because the server
// might have carried it out.
func (s *Stage) each(ctx context.Context, databases []string, what string, con *Console,
	do func(context.Context, *pgx.Conn, string) error,
) (done []string, err error) {
	todo, finished := make(chan string, len(databases)), make(chan string, len(databases))
	for _, database := range databases {
		todo <- database
	}
	close(todo)
	group, ctx := errgroup.WithContext(ctx)
	for range creators {
		group.Go(func() error {
			conn, err := pgx.ConnectConfig(ctx, s.Login)
			if err != nil {
				return err
			}
			defer HangUp(conn)
			for database := range todo {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				if err := do(context.WithoutCancel(ctx), conn, database); err != nil {
					return err
				}
				finished <- database
				con.Show(fmt.Sprintf("%s: %d of %d", what, len(finished), len(databases)))
			}
			return nil
		})
	}
	err = group.Wait()
	con.Show("")
	close(finished)
	for database := range finished {
		done = append(done, database)
	}
	return done, err
}

// LoginTo is the role's way to a workspace's database.
func (s *Stage) LoginTo(workspace int) *pgx.ConnConfig {
	login := s.Login.Copy()
	login.Database = s.Databases[workspace]
	return login
}

// lookEvery is how often the server's connections are counted.
const lookEvery = 20 * time.Millisecond

// Watch has the server count the role's connections until Stop. others are those that
// the caller has not opened: on a throwaway server there is none, once those of
// whoever came before are gone; on a user's there is the observer at least.
func (s *Stage) Watch(ctx context.Context) (watch *serverview.Watch, others int, err error) {
	watch, err = serverview.Start(ctx, s.Observer, s.Login.User, lookEvery)
	if err != nil {
		return nil, 0, err
	}
	if s.local != nil {
		err = UntilGone(ctx, watch, 0)
	} else {
		others, err = watch.Count(ctx)
	}
	if err != nil {
		watch.Stop()
		return nil, 0, err
	}
	return watch, others, nil
}

// UntilGone waits until the server has no more connections than the others.
func UntilGone(ctx context.Context, watch *serverview.Watch, others int) error {
	for {
		n, err := watch.Count(ctx)
		if err != nil || n <= others {
			return err
		}
		if Pause(ctx, lookEvery); ctx.Err() != nil {
			return errors.New("connections are left on the server although they were closed: do others use it as the same role?")
		}
	}
}

// Refusals is how many logins the throwaway server has refused for lack of room, by
// the end of its log. When there are so many that some are missing there, the clients
// have counted them too.
func (s *Stage) Refusals() uint64 { return refusalsIn(s.local.LogTail()) }

func refusalsIn(log string) uint64 {
	return uint64(strings.Count(log, " "+pgerrcode.TooManyConnections+" FATAL: "))
}

// endsWithin bounds what an end has to wait for.
const endsWithin = time.Minute

// Close removes what Set made, also when the run was interrupted.
func (s *Stage) Close(con *Console) error {
	if s.local != nil { // its databases go with it
		return s.local.Stop()
	}
	if len(s.created) == 0 {
		return nil
	}
	ctx, stop := context.WithTimeout(context.Background(), endsWithin)
	defer stop()
	dropped, err := s.each(ctx, s.created, "dropping workspaces", con, func(ctx context.Context, conn *pgx.Conn, database string) error {
		_, err := conn.Exec(ctx, "DROP DATABASE "+pgx.Identifier{database}.Sanitize()+" WITH (FORCE)")
		return err
	})
	if err != nil {
		return fmt.Errorf("%d of %d databases of this run were not dropped (drop those that begin with %s): %w",
			len(s.created)-len(dropped), len(s.created), s.Config.Prefix, err)
	}
	return nil
}

// HangUp tells the server that the session is over.
func HangUp(conn *pgx.Conn) {
	ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
	defer stop()
	_ = conn.Close(ctx)
}
