package pools

import (
	"context"
	"crypto/rand"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/model"
)

// unfinished is a database whose init has not succeeded yet. Its name is no
// workspace's, so a workspace never lacks what its init was to do. It says when it was
// created, so that what a killed process has left is known by its age, and who creates
// takes no other's for left behind.
type unfinished struct {
	database string
	// id is under which its connection holds a slot. It is no valid WorkspaceID:
	// nobody can acquire it.
	id model.WorkspaceID
}

const (
	unfinishedWord   = "_new_"
	unfinishedRandom = 8
	// leftBehindAfter is far longer than a database that somebody works on is without a
	// connection, which are moments.
	leftBehindAfter = time.Hour
)

func newUnfinished(prefix string, id model.WorkspaceID) unfinished {
	const longest = model.MaxNameLength - len(unfinishedWord) - 11 - len("_") - unfinishedRandom // 11: years to come
	prefix = prefix[:min(len(prefix), longest)]
	name := prefix + unfinishedWord + strconv.FormatInt(time.Now().Unix(), 10) + "_" + strings.ToLower(rand.Text()[:unfinishedRandom])
	return unfinished{name, model.WorkspaceID(name + unfinishedFor + string(id))}
}

const unfinishedFor = " for " // is in no WorkspaceID

func isUnfinished(id model.WorkspaceID) bool { return strings.Contains(string(id), unfinishedFor) }

// place is the database to dial for the holder of a slot, and the workspace of it.
func (d *dialer) place(calledOff context.Context, id model.WorkspaceID) (workspace model.WorkspaceID, at place, err error) {
	if database, workspace, ok := strings.Cut(string(id), unfinishedFor); ok {
		return model.WorkspaceID(workspace), place{database: database}, nil
	}
	ctx, stop := context.WithTimeout(calledOff, d.timeout)
	defer stop()
	at, err = d.placeOf(ctx, id)
	return id, at, err
}

// dropUnfinished drops what killed processes have left. While somebody is connected to
// a database the server refuses to.
func (m *Manager) dropUnfinished(ctx context.Context) {
	prefix, _, _ := strings.Cut(newUnfinished(m.config.Prefix, "").database, unfinishedWord)
	ours := regexp.MustCompile(fmt.Sprintf(`^%s%s(\d{10,11})_[a-z2-7]{%d}$`, regexp.QuoteMeta(prefix), unfinishedWord, unfinishedRandom))
	names, err := askOwn(ctx, m, pgx.RowTo[string], `
		SELECT datname FROM pg_catalog.pg_database
		WHERE pg_catalog.starts_with(datname, $1)
		      AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.datname = pg_database.datname)`, prefix+unfinishedWord)
	if err != nil {
		m.log.Warn("Databases of workspaces that were not created are not looked for", "error", err.Error())
		return
	}
	for _, name := range names {
		found := ours.FindStringSubmatch(name)
		if found == nil {
			continue
		}
		if created, err := strconv.ParseInt(found[1], 10, 64); err != nil || time.Since(time.Unix(created, 0)) < leftBehindAfter {
			continue
		}
		if err := m.administer(ctx, "DROP DATABASE IF EXISTS "+pgx.Identifier{name}.Sanitize()); err != nil {
			m.log.Warn("The database of a workspace that was not created is left behind", "database", name, "error", err.Error())
			continue
		}
		m.log.Info("The database of a workspace that was not created was left behind, and is dropped", "database", name)
	}
}
