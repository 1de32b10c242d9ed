package localpg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Server is a running PostgreSQL that belongs to whoever started it, and who
// must Stop it. Use it from one goroutine at a time; that goes for the methods,
// not for the connections to it.
type Server struct {
	// Where to connect, and as whom: the application role, which is no
	// superuser but may create databases, and the system database that it
	// owns. Read only.
	Host     string
	Port     int
	User     string
	Password string
	Database string

	superuserPassword string
	binaries          string // the folder with initdb and postgres
	account           account
	folder            string // data and log
	watchdog          *watchdog
	postmaster        *postmaster // the latest run; nil before the first
	patience          time.Duration
	stopped           bool
	lastLog           string // what LogTail returns once stopped
}

// startTimeout bounds initdb and a start. A second is usual; a busy machine
// may need much longer.
const startTimeout = 2 * time.Minute

var errSlow = fmt.Errorf("it took longer than %v", startTimeout)

// machine is what Start asks of its surroundings; tests put in other answers.
type machine struct {
	places places
	port   func() (int, error)
}

// Start makes a new server and blocks until it answers, which takes about a
// second, or much longer where PostgreSQL has to be downloaded first. On an
// error, and when ctx ends before, nothing is left behind. ctx matters to Start
// only: its end later does not stop the server.
//
// The error wraps ErrNoBinaries when there is no PostgreSQL on this machine.
// Other errors tell what the server's log says. None holds a password.
func Start(ctx context.Context, options Options) (*Server, error) {
	return start(ctx, options, machine{places: usualPlaces(), port: freePort})
}

func start(ctx context.Context, options Options, machine machine) (*Server, error) {
	who, err := serverAccount()
	if err != nil {
		return nil, err
	}
	folder, err := nameFolder(who, options.InMemory)
	if err != nil {
		return nil, err
	}
	configuration, err := options.configuration(clusterName(folder))
	if err != nil {
		return nil, err
	}
	binaries, err := findBinaries(ctx, machine.places)
	if err != nil {
		return nil, err
	}
	guard, err := startWatchdog(folder)
	if err != nil {
		return nil, err
	}
	s := &Server{
		Host:              host,
		User:              application,
		Password:          newPassword(),
		Database:          application,
		superuserPassword: newPassword(),
		binaries:          binaries,
		account:           who,
		folder:            folder,
		watchdog:          guard,
		patience:          10 * time.Second,
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errSlow)
	defer cancel()
	if err := s.build(ctx, configuration, machine.port); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// build goes from nothing to a server with its role and database.
func (s *Server) build(ctx context.Context, configuration string, port func() (int, error)) error {
	if err := makeFolder(s.folder, s.account); err != nil {
		return err
	}
	if err := s.initialize(ctx, configuration); err != nil {
		return err
	}
	for tries := 1; ; tries++ {
		var err error
		if s.Port, err = port(); err != nil {
			return err
		}
		conn, err := s.launch(ctx)
		if errors.Is(err, errPortTaken) && tries < 10 {
			continue
		}
		if err != nil {
			return err
		}
		defer HangUp(conn)
		return s.createApplication(ctx, conn)
	}
}

// Processes returns the ids of the server's living processes, in no order: the
// postmaster, what works for it, and a backend for each client. They are the
// caller's to signal.
func (s *Server) Processes() ([]int, error) { return processes(s.folder) }

// String names the server without its passwords.
func (s *Server) String() string { return fmt.Sprintf("localpg server on %s:%d", s.Host, s.Port) }

// GoString is String, so that no verb of fmt prints a password.
func (s *Server) GoString() string { return s.String() }

// LogValue is String, so that no log handler prints a password.
func (s *Server) LogValue() slog.Value { return slog.StringValue(s.String()) }
