package faults

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/localpg"
)

// long is the form in which all faults happen, for five seconds each.
var long = os.Getenv("TENANTPOOL_TEST_LONG") == "1"

var reportFile = flag.String("report", "", "write what this run shows into this file")

const (
	// connections is what the server has for us, workspaces and system together.
	connections = 20
	workspaces  = 40
	// ofTheTest is how many superuser connections there are besides: control and
	// the one that counts.
	ofTheTest         = 2
	superuserReserved = 3
)

// server is one PostgreSQL for all scenes; control is a superuser's session on it.
var (
	server  *localpg.Server
	control *sql.DB
)

func TestMain(m *testing.M) {
	if os.Getenv(asReplica) != "" {
		os.Exit(beReplica(os.Stdin, os.Stdout))
	}
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if err := startServer(); err != nil {
		fmt.Fprintln(os.Stderr, "these tests need a PostgreSQL:", err)
		return 1
	}
	defer func() {
		if err := server.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	code := m.Run()
	if *reportFile != "" {
		if err := errors.Join(writeFaults(*reportFile), writeOverload(*reportFile), writeSoak(*reportFile)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

func startServer() (err error) {
	server, err = localpg.Start(context.Background(), localpg.Options{
		MaxConnections: connections + ofTheTest + superuserReserved,
		InMemory:       true,
		Settings:       map[string]string{"wal_level": "replica"}, // for the scene in recovery
	})
	if err != nil {
		return err
	}
	if control, err = sql.Open("pgx", server.SuperuserDSN()); err != nil {
		return err
	}
	control.SetMaxOpenConns(1)
	for i := range workspaces {
		if err := createWorkspace(i); err != nil {
			return err
		}
	}
	return measureDial()
}

// dialTakes is how long a dial takes on this machine: at first with nothing else to
// do, and since a scene began, with its traffic (noteDials).
var dialTakes time.Duration

// noteDials takes the mean of a manager's dials: the machine may have become busier.
func noteDials(t *testing.T, m *pools.Manager) {
	st, err := m.Stats(t.Context())
	must(t, err)
	n := uint64(0)
	for _, count := range st.Workspaces.DialTimes.Counts {
		n += count
	}
	dialTakes = st.Workspaces.DialTimes.Sum / time.Duration(max(n, 1))
}

// measureDial takes the median of a few.
func measureDial() error {
	var took []time.Duration
	for range 9 {
		began := time.Now()
		if err := onDatabase(context.Background(), 0, `SELECT 1`); err != nil {
			return err
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	dialTakes = took[len(took)/2]
	if testing.Verbose() {
		fmt.Printf("a dial takes %d µs here\n", dialTakes.Microseconds()) // .ci/slow reads it
	}
	if !long {
		// The fewer seconds the better: many scenes wait until requests run out of
		// time. But a request may have to wait for some dials.
		requestTime = min(time.Second+40*dialTakes, 4*time.Second)
	}
	return nil
}

func workspace(i int) model.WorkspaceID { return model.WorkspaceID(fmt.Sprintf("w%d", i)) }

func database(i int) string { return fmt.Sprintf("fault_ws_w%d", i) }

// createWorkspace makes a database that holds its workspace's id, and a table to
// fill the disk with.
func createWorkspace(i int) error {
	ctx, stop := context.WithTimeout(context.Background(), 30*time.Second)
	defer stop()
	if err := server.CreateDatabases(ctx, database(i)); err != nil {
		return err
	}
	return onDatabase(ctx, i, fmt.Sprintf(
		`CREATE TABLE identity AS SELECT text '%s' AS workspace; CREATE TABLE bulk (data text)`, workspace(i)))
}

// onDatabase runs statements in a workspace's database, past the manager.
func onDatabase(ctx context.Context, i int, statements string) error {
	address := url.URL{
		Scheme: "postgres", User: url.UserPassword(server.User, server.Password),
		Host: fmt.Sprintf("%s:%d", server.Host, server.Port), Path: database(i), RawQuery: "sslmode=disable",
	}
	conn, err := pgx.Connect(ctx, address.String())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, statements, pgx.QueryExecModeSimpleProtocol)
	return err
}

func config() model.Config {
	cfg := model.DefaultConfig()
	cfg.Host, cfg.Port = server.Host, server.Port
	cfg.User, cfg.Password = server.User, server.Password
	cfg.SystemDatabase = server.Database
	cfg.SSLMode = "disable"
	cfg.Prefix = "fault"
	cfg.MaxConnections = connections
	return cfg
}
