package pools

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// WithInstance names the place of this process among those that use the server, so that
// a process that starts where another one was killed knows what that one has left: its
// statements run on until the server notices. Open counts those connections against the
// budget until they are gone, and logs them. No two living processes may have the same
// name, or each takes the other's connections for left behind; a host and the port on
// which the process listens are such a name.
//
// The name stands in application_name: tenantpool <name>/<a word for this run> (or
// PGAPPNAME in place of tenantpool). What is longer than the 63 bytes that the server
// keeps, or not ASCII, ends in a hash of the whole. A session that sets another
// application_name is not recognised.
func WithInstance(name string) Option {
	return func(o *options) { o.instance = name }
}

// identity is what application_name says of us.
type identity struct {
	family string // that of all runs of this instance; "" without an instance
	run    string
}

const (
	runLength          = 8
	hashLength         = 13 // of base32: 65 bits
	applicationNameMax = 63 // NAMEDATALEN - 1
	familyMax          = applicationNameMax - runLength - len("/")
)

func newIdentity(application, instance string) identity {
	if instance == "" {
		return identity{}
	}
	whole := application + " " + instance
	family := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?' // as the server does
		}
		return r
	}, whole)
	if family != whole || len(family) > familyMax { // two instances must not look alike
		sum := sha256.Sum256([]byte(whole))
		hash := base32.StdEncoding.EncodeToString(sum[:])[:hashLength]
		family = family[:min(len(family), familyMax-len("~")-hashLength)] + "~" + hash
	}
	return identity{family + "/", rand.Text()[:runLength]}
}

// introduce has the connections say who we are.
func (i identity) introduce(config *pgx.ConnConfig) {
	if i.family != "" {
		config.RuntimeParams["application_name"] = i.family + i.run
	}
}

// leftover is a connection that an earlier run of this instance has opened. It holds a
// slot as one does that was told to close (an actor.Conn).
type leftover struct {
	pid     int32
	began   time.Time
	gone    chan struct{}
	closing <-chan struct{} // of the manager: then nobody needs to know any more
}

// Close waits for the server's end of it. Nobody tells it to end: that is for
// client_connection_check_interval, and for its statement.
func (l *leftover) Close(model.CloseReason) {
	select {
	case <-l.gone:
	case <-l.closing:
	}
}

// leftovers are found by the names under which they hold their slots. These are no
// workspaces: Stats does not list them.
type leftovers map[model.WorkspaceID]*leftover

// of returns nil for a workspace.
func (l *leftovers) of(id model.WorkspaceID) *leftover {
	if l == nil {
		return nil
	}
	return (*l)[id]
}

// onlyWorkspaces leaves out what holds slots and is no workspace: leftovers, and
// unfinished databases.
func (m *Manager) onlyWorkspaces(active []model.WorkspaceStats) []model.WorkspaceStats {
	left := m.leftovers.Load()
	return slices.DeleteFunc(active, func(w model.WorkspaceStats) bool {
		return isUnfinished(w.ID) || left.of(w.ID) != nil
	})
}

const askLeftovers = `
SELECT pid, backend_start, datname FROM pg_catalog.pg_stat_activity
WHERE usename = session_user AND pid <> pg_catalog.pg_backend_pid()
      AND pg_catalog.left(application_name, pg_catalog.length($1)) = $1
      AND pg_catalog.length(application_name) = pg_catalog.length($2) AND application_name <> $2`

// holdLeftovers takes a slot for each connection that an earlier run has left. Nothing
// is lent before.
func (m *Manager) holdLeftovers(ctx context.Context, conn *Conn) error {
	if m.identity.family == "" {
		return nil
	}
	rows, err := conn.Query(ctx, askLeftovers, m.identity.family, m.identity.family+m.identity.run)
	if err != nil {
		return err
	}
	found := make(leftovers)
	shares := make(map[model.WorkspaceID]actor.ShareIndex)
	databases := make(map[string]int)
	var pid int32
	var began time.Time
	var database string
	_, err = pgx.ForEachRow(rows, []any{&pid, &began, &database}, func() error {
		id := model.WorkspaceID(fmt.Sprintf("(left behind: process %d)", pid))
		found[id] = &leftover{pid, began, make(chan struct{}), m.closing}
		databases[database]++
		if database == m.config.SystemDatabase {
			shares[id] = systemShare
		}
		return nil
	})
	if err != nil || len(found) == 0 {
		return err
	}
	m.leftovers.Store(&found)
	held := 0
	for id := range found {
		// The dial opens nothing (see dialer.Dial). Beyond the budget there is none. ctx
		// must not end it half-way: what is not held does not count.
		lease, err := m.supervisor.Acquire(context.WithoutCancel(ctx), shares[id], id, actor.Wait{NoWait: true, AtMost: askAtMost})
		if err == nil {
			lease.Release(core.Unclean)
			held++
		}
	}
	m.log.Warn("An earlier run of this instance has left connections, which count until the server has ended them",
		"connections", len(found), "held", held, "databases", databases)
	go m.watchLeftovers(maps.Clone(found), time.Now())
	return nil
}

// watchLeftovers frees the slots of those that are gone.
func (m *Manager) watchLeftovers(left leftovers, since time.Time) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		select {
		case <-m.closing:
			stop()
		case <-ctx.Done():
		}
	}()
	for !within(m.closing, askAgain) {
		there, err := m.thereStill(ctx, left)
		if err != nil {
			continue
		}
		for id, l := range left {
			if !slices.ContainsFunc(there, l.is) {
				close(l.gone)
				delete(left, id)
			}
		}
		if len(left) == 0 {
			m.log.Info("What an earlier run left is gone", "took", time.Since(since).Round(time.Millisecond).String())
			return
		}
	}
}

// serverProcess is one that there is now. Its id is used again when it has ended.
type serverProcess struct {
	PID   int32
	Began time.Time
}

func (l *leftover) is(p serverProcess) bool { return p.PID == l.pid && p.Began.Equal(l.began) }

// thereStill are the processes of these ids.
func (m *Manager) thereStill(ctx context.Context, left leftovers) ([]serverProcess, error) {
	ctx, stop := context.WithTimeout(ctx, askAtMost)
	defer stop()
	var pids []int32
	for _, l := range left {
		pids = append(pids, l.pid)
	}
	return askOwn(ctx, m, pgx.RowToStructByPos[serverProcess],
		`SELECT pid, backend_start FROM pg_catalog.pg_stat_activity WHERE pid = ANY($1)`, pids)
}
