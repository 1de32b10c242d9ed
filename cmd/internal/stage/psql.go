package stage

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/door"
)

// Psql sends requests by psql, PostgreSQL's own client, through a door in front of the
// manager: each request is a process of its own.
type Psql struct {
	program, password string
	door              *Door
}

// FindPsql tells whether there is a psql, before anything is started for it.
func FindPsql() error {
	if _, err := exec.LookPath("psql"); err != nil {
		return errors.New("psql is not installed, and is to send the requests (--clients psql): apt-get install postgresql-client, or the like")
	}
	return nil
}

// OpenPsql opens the door. Whoever calls it closes it before the manager.
func OpenPsql(manager *pools.Manager, log *slog.Logger) (*Psql, error) {
	program, err := exec.LookPath("psql")
	if err != nil {
		return nil, err
	}
	p := &Psql{program: program, password: rand.Text()}
	p.door, err = OpenDoor(manager, psqlUser, p.password, door.Options{Log: log})
	return p, err
}

const psqlUser = "demo"

// Door is its door.
func (p *Psql) Door() *door.Door { return p.door.Door }

// Close ends the door. nil has none.
func (p *Psql) Close(ctx context.Context) error {
	if p == nil {
		return nil
	}
	return p.door.Close(ctx)
}

// By has psql send the requests; nil: this process goes on sending them.
func (t *Traffic) By(psql *Psql) *Traffic {
	t.psql = psql
	return t
}

// request is two statements in a transaction. The server says itself which database they
// reach.
func (p *Psql) request(ctx context.Context, workspace model.WorkspaceID, database string) (o outcome) {
	began := time.Now()
	ctx, end := context.WithTimeout(ctx, requestTimeout)
	defer end()
	command := exec.CommandContext(ctx, p.program, "-XAtq", "-v", "ON_ERROR_STOP=1", "-1",
		"-c", "SELECT current_database()", "-c", "SELECT count(*) FROM pg_catalog.pg_class")
	command.Env = append(os.Environ(), "PGHOST=127.0.0.1", "PGPORT="+strconv.Itoa(p.door.Port), "PGUSER="+psqlUser, "PGPASSWORD="+p.password,
		"PGDATABASE="+string(workspace), "PGSSLMODE=disable", "PGCONNECT_TIMEOUT=30")
	var said, wrong bytes.Buffer
	command.Stdout, command.Stderr = &said, &wrong
	err := command.Run()
	o.took = time.Since(began)
	got, _, _ := strings.Cut(said.String(), "\n")
	switch {
	case err != nil:
		err = fmt.Errorf("psql: %w: %s", err, strings.TrimSpace(wrong.String()))
	case got != database:
		err = fmt.Errorf("%w: it is %q", ErrWrongWorkspace, got)
	default:
		return o
	}
	o.kind, o.err = KindOf(err), fmt.Errorf("psql in workspace %q: %w", workspace, err)
	return o
}
