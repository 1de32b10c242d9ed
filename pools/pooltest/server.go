package pooltest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/localpg"
)

// Config says what the server's workspaces are made of. The zero value gives empty ones.
type Config struct {
	// Migrate fills the template of all workspaces, once. A tool that wants a *sql.DB and
	// closes it gets sql.OpenDB(w.Connector()). MigrateSystem does the same for the system
	// database, of which there is one, shared by all tests.
	Migrate, MigrateSystem func(ctx context.Context, w *pools.Workspace) error
	// Extensions are created in the template before Migrate, by a superuser, which
	// the application's role is not.
	Extensions []string
	// Configure changes the configuration of the manager before it is opened, which is
	// otherwise that of an empty environment, with leases traced. What says where the
	// server is (Host, Port, User, Password, SSLMode, SystemDatabase) is not its to set.
	Configure func(*model.Config)
	// Options are for the manager. It logs nothing unless they say so. Naming stands in
	// for pools.WithNaming, which must not be among them.
	Options []pools.Option
	Naming  pools.Naming
	// Settings are lines of postgresql.conf, by name; see localpg.Options.
	Settings map[string]string
}

// Server is a throwaway PostgreSQL for the tests of one package, with one manager. Its
// methods may be called from any goroutine, but for Stop.
type Server struct {
	config  Config
	start   func() (*running, error) // the first call starts it
	started atomic.Pointer[running]
}

// running is a server that was started.
type running struct {
	postgres *localpg.Server
	manager  *pools.Manager
	config   model.Config // of the manager
	naming   pools.Naming
	admin    *pgxpool.Pool // of the superuser
	ahead    *ahead
	created  atomic.Int64   // numbers the workspaces
	returned chan returned  // those that are to be dropped
	running  sync.WaitGroup // the goroutines
	end      context.CancelFunc
	ended    <-chan struct{}
}

// NewServer returns a server that starts when a method of it is called first, so that
// a package's other tests do not wait for it. It belongs in a variable of the package.
//
// It ends with the process, however that ends, and leaves nothing behind. Stop ends it
// before, for a TestMain that looks for goroutines.
//
// PostgreSQL is looked for as package localpg does: the folder PG_BIN, the PATH, the usual
// folders, else it is downloaded.
func NewServer(cfg Config) *Server {
	s := &Server{config: cfg}
	s.start = sync.OnceValues(func() (*running, error) {
		r, err := start(context.Background(), cfg)
		s.started.Store(r)
		return r, err
	})
	return s
}

// Manager returns the manager that all tests of the server share. Do not close it, nor
// change its limits: for that, open one of your own with Config.
func (s *Server) Manager(tb testing.TB) *pools.Manager {
	tb.Helper()
	return s.run(tb).manager
}

// Config returns how to connect to the server, for a manager of the test's own. It
// holds the password.
func (s *Server) Config(tb testing.TB) model.Config {
	tb.Helper()
	return s.run(tb).config
}

// run starts the server, or fails the test.
func (s *Server) run(tb testing.TB) *running {
	tb.Helper()
	r, err := s.start()
	if err != nil {
		tb.Fatalf("pooltest: start the server: %v", err)
	}
	if isClosed(r.ended) {
		tb.Fatal("pooltest: the server was stopped; call Stop when all tests have ended")
	}
	return r
}

// Stop ends the server, if it has started: in a TestMain, after m.Run. The error says
// what is still lent of the manager, and what went wrong on the way; the server is
// stopped all the same.
func (s *Server) Stop() error {
	r := s.started.Load()
	if r == nil || isClosed(r.ended) {
		return nil
	}
	return r.stop()
}

// More connections than the manager's: those of the admin, and of managers and programs
// of the tests' own.
const room = 100

func start(ctx context.Context, cfg Config) (*running, error) {
	manager := model.DefaultConfig()
	manager.Prefix = "test"
	manager.LeaseTracing = true
	if cfg.Configure != nil {
		cfg.Configure(&manager)
	}
	postgres, err := localpg.Start(ctx, localpg.Options{
		MaxConnections: max(manager.MaxConnections, 0) + room,
		Settings:       cfg.Settings,
		InMemory:       true,
	})
	if err != nil {
		return nil, err
	}
	manager.Host, manager.Port, manager.SSLMode = postgres.Host, postgres.Port, "disable"
	manager.User, manager.Password, manager.SystemDatabase = postgres.User, postgres.Password, postgres.Database

	ctx, end := context.WithCancel(ctx)
	r := &running{
		postgres: postgres, config: manager, naming: cfg.Naming,
		returned: make(chan returned, 2*aheadAtMost()),
		end:      end, ended: ctx.Done(),
	}
	options := append([]pools.Option{pools.WithLogger(nil)}, cfg.Options...)
	if cfg.Naming == nil {
		r.naming = pools.PrefixNaming(manager.Prefix)
	} else {
		options = append(options, pools.WithNaming(cfg.Naming))
	}
	if err := r.open(ctx, options, cfg); err != nil {
		return nil, errors.Join(err, r.stop())
	}
	return r, nil
}

// open goes from an empty server to one with a template, of which copies are being made.
func (r *running) open(ctx context.Context, options []pools.Option, cfg Config) error {
	admin, err := pgxpool.ParseConfig(r.postgres.SuperuserDSN())
	if err != nil {
		return err
	}
	admin.ConnConfig.RuntimeParams = map[string]string{"application_name": "pooltest"}
	admin.MaxConns = int32(makers + 1 + runtime.GOMAXPROCS(0)) // who drops, and who renames
	if r.admin, err = pgxpool.NewWithConfig(ctx, admin); err != nil {
		return err
	}
	if r.manager, err = pools.Open(ctx, r.config, options...); err != nil {
		return err
	}
	if cfg.MigrateSystem != nil {
		if err := cfg.MigrateSystem(ctx, r.manager.System()); err != nil {
			return fmt.Errorf("Config.MigrateSystem: %w", err)
		}
	}
	if err := r.makeTemplate(ctx, cfg); err != nil {
		return err
	}
	copying, err := copyTemplate(ctx, r.admin, r.postgres.User)
	if err != nil {
		return err
	}
	r.ahead = makeAhead(ctx, &r.running, r.admin, copying)
	r.running.Go(func() { r.dropReturned(ctx) })
	return nil
}

// stop ends what there is.
func (r *running) stop() error {
	r.end()
	r.running.Wait()
	var left error
	if r.manager != nil {
		left = untilHome(context.Background(), r.manager, r.manager.Close)
	}
	if r.admin != nil {
		r.admin.Close()
	}
	return errors.Join(left, r.postgres.Stop())
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
