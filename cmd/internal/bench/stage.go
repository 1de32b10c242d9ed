package bench

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/sirupsen/logrus"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools/localpg"
)

// setting is the server with its databases: the same for all strategies.
type setting struct {
	options Options
	config  model.Config    // tenantpool's way to the server
	login   *pgx.ConnConfig // the others', to the same server as the same role
	// watcher is who looks at the server. It is a superuser of the throwaway
	// server, and the role itself on another one.
	watcher string
	local   *localpg.Server // nil: the server is the user's
	// secret is what PgBouncer knows the role by.
	secret string

	workspaces []model.WorkspaceID
	databases  []string // of the workspaces
	created    []string // those of them that are to be dropped
	log        logrus.FieldLogger
	// measuring: new connections are not asked where they lead (verify).
	measuring atomic.Bool
}

// The server refuses the role when no more of max_connections are free than
// superuser_reserved_connections, whoever has the others. Who looks at the server
// has one for all the time, so this leaves the role the budget and not one more.
const (
	watchers = 1
	reserved = 2
)

// setUp finds or starts the server and creates n databases. On an error nothing
// is left behind.
func setUp(ctx context.Context, o Options, n int, log logrus.FieldLogger, term Terminal) (_ *setting, err error) {
	s := &setting{options: o, log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.tearDown(term))
		}
	}()
	if o.DSN == "" {
		err = s.startServer(ctx, term)
	} else {
		err = s.useServer(ctx, o.DSN)
	}
	if err != nil {
		return nil, err
	}
	s.limit()
	s.findSecret(ctx)
	return s, s.createDatabases(ctx, n, term)
}

// startServer starts a server that grants the role exactly the budget.
func (s *setting) startServer(ctx context.Context, term Terminal) (err error) {
	term.Show("starting PostgreSQL ...")
	most := s.options.Budget + watchers + reserved
	s.local, err = localpg.Start(ctx, localpg.Options{
		MaxConnections: most,
		Settings: map[string]string{
			"superuser_reserved_connections": fmt.Sprint(reserved),
			"log_min_messages":               "panic", // refusals are counted at the client
			"max_wal_size":                   "256MB",
		},
	})
	term.Show("")
	if err != nil {
		return err
	}
	term.Println(fmt.Sprintf("PostgreSQL is up, max_connections %d: %d for each strategy in its turn, %d for the observer, %d reserved",
		most, s.options.Budget, watchers, reserved))

	s.watcher = s.local.SuperuserDSN()
	s.login, err = pgx.ParseConfig(fmt.Sprintf("host=%s port=%d user=%s password=%s dbname=%s sslmode=disable",
		s.local.Host, s.local.Port, s.local.User, s.local.Password, s.local.Database))
	if err != nil {
		return errors.New("the throwaway server's address is no good")
	}
	s.config = model.DefaultConfig()
	s.config.SSLMode = "disable" // it has no certificate
	return nil
}

// limit completes tenantpool's configuration.
func (s *setting) limit() {
	c := &s.config
	c.Host, c.Port = s.login.Host, int(s.login.Port)
	c.User, c.Password = s.login.User, s.login.Password
	c.SystemDatabase = s.login.Database
	c.MaxConnections, c.MaxConnectionsPerDB = s.options.Budget, s.options.Cap
	// All workers may wait at once, even for the same workspace, and as long as
	// the other strategies let them.
	c.MaxWaiters = max(c.MaxWaiters, s.options.Workers)
	c.MaxWaitersPerDB = max(c.MaxWaitersPerDB, s.options.Workers)
	c.AcquireTimeout = requestTimeout
}

// loginTo is the role's way to a workspace's database.
func (s *setting) loginTo(workspace int) *pgx.ConnConfig {
	login := s.login.Copy()
	login.Database = s.databases[workspace]
	return login
}

// endsWithin bounds what comes after the last turn.
const endsWithin = time.Minute

// tearDown removes what setUp made, also when the run was interrupted.
func (s *setting) tearDown(term Terminal) error {
	if s.local != nil { // its databases go with it
		return s.local.Stop()
	}
	ctx, stop := context.WithTimeout(context.Background(), endsWithin)
	defer stop()
	return s.dropDatabases(ctx, term)
}
