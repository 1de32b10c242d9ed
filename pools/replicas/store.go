package replicas

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Schema makes the two tables, in the system database, where they are missing.
const Schema = `
CREATE TABLE IF NOT EXISTS tenantpool_groups (
	name    text   PRIMARY KEY,
	version bigint NOT NULL DEFAULT 0, -- of the decision made last
	budget  int    NOT NULL,
	floor   int    NOT NULL
);
CREATE TABLE IF NOT EXISTS tenantpool_replicas (
	"group"          text   NOT NULL REFERENCES tenantpool_groups ON DELETE CASCADE,
	id               text   NOT NULL, -- of the process; never used again
	label            text   NOT NULL, -- for people
	application_name text   NOT NULL, -- of its connections, but the control session
	seq              bigint NOT NULL,
	pid              int    NOT NULL, -- of the control session
	started          timestamptz NOT NULL,
	granted          int    NOT NULL,
	promised         int    NOT NULL CHECK (promised >= granted),
	wants            int    NOT NULL DEFAULT 0,
	renamed          int    NOT NULL DEFAULT 0, -- how many of its connections have another application_name
	draining         bool   NOT NULL DEFAULT false,
	gone_at          timestamptz,
	PRIMARY KEY ("group", id)
)`

// Store is the two tables, and the server's list of sessions, seen through one control
// session. One goroutine owns it.
type Store struct {
	Conn *pgx.Conn
	// Group is the group's name.
	Group string
	// MaxDialing and Settle are those of the Views.
	MaxDialing int
	Settle     time.Duration
}

// Version is the state of the group that a View was read in.
type Version int64

// ErrOutdated tells that somebody has decided since the View was read: nothing was written.
var ErrOutdated = errors.New("the group has changed since it was read")

// Found makes the group if it is not there, and returns the budget and the floor that it
// has.
func (s *Store) Found(ctx context.Context, budget, floor int) (Group, error) {
	g := Group{MaxDialing: s.MaxDialing, Settle: s.Settle}
	_, err := s.Conn.Exec(ctx, `INSERT INTO tenantpool_groups (name, budget, floor) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, s.Group, budget, floor)
	if err == nil {
		err = s.Conn.QueryRow(ctx, `SELECT budget, floor FROM tenantpool_groups WHERE name = $1`, s.Group).Scan(&g.Budget, &g.Floor)
	}
	return g, err
}

// The list of sessions is not read in one moment; what a decision takes back of it counts
// only in a look that began after the one in which the replica was first missed (rule 5).
// A login that waits for a lock of its database is in no list of sessions yet, and counts.
const readView = `
WITH sessions AS MATERIALIZED (
	SELECT pid, backend_start, application_name FROM pg_catalog.pg_stat_activity
	WHERE usename = session_user AND backend_type = 'client backend'
), logins AS (
	SELECT count(DISTINCT l.pid) AS waiting FROM pg_catalog.pg_locks l
	WHERE NOT l.granted AND l.classid = 'pg_catalog.pg_database'::pg_catalog.regclass
		AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.pid = l.pid)
)
SELECT g.version, g.budget, g.floor, (SELECT count(*) FROM sessions), (SELECT waiting FROM logins),
	r.id, r.seq, r.granted, r.promised, r.wants, r.renamed, r.draining, r.gone_at,
	EXISTS (SELECT FROM sessions s WHERE s.pid = r.pid AND s.backend_start = r.started),
	(SELECT count(*) FROM sessions s WHERE s.application_name = r.application_name), pg_catalog.clock_timestamp()
FROM tenantpool_groups g LEFT JOIN tenantpool_replicas r ON r."group" = g.name
WHERE g.name = $1`

// View reads the group, and the server's clock.
func (s *Store) View(ctx context.Context) (v View, version Version, now time.Time, err error) {
	rows, err := s.Conn.Query(ctx, readView, s.Group)
	if err != nil {
		return View{}, 0, time.Time{}, err
	}
	v.MaxDialing, v.Settle = s.MaxDialing, s.Settle
	var (
		sessions, logins, owned           int
		id                                *string
		seq                               *int64
		granted, promised, wants, renamed *int
		draining                          *bool
		goneAt                            *time.Time
		present                           bool
		visible                           int
	)
	_, err = pgx.ForEachRow(rows, []any{
		&version, &v.Budget, &v.Floor, &sessions, &logins, &id, &seq, &granted, &promised, &wants, &renamed, &draining, &goneAt,
		&present, &visible, &now,
	}, func() error {
		if id == nil { // there is no replica
			return nil
		}
		r := Replica{
			ID: *id, Seq: *seq, Granted: *granted, Promised: *promised, Wants: *wants, Draining: *draining,
			Present: present, Visible: visible,
		}
		owned += visible
		if present {
			owned += 1 + *renamed
		} else {
			r.Visible += logins
		}
		if goneAt != nil {
			r.GoneAt = *goneAt
		}
		v.Replicas = append(v.Replicas, r)
		return nil
	})
	if err == nil && version == 0 && v.Budget == 0 {
		err = fmt.Errorf("there is no group %q", s.Group)
	}
	v.Strangers = max(0, sessions-owned)
	return v, version, now, err
}

// bump is the only way to raise anything: it succeeds once for each version (rule 1).
const bump = `
WITH bump AS (
	UPDATE tenantpool_groups SET version = version + 1 WHERE name = $1 AND version = $2 RETURNING name
)`

// Register takes over the replica's row, or inserts one, with a seq that no row of that id
// has had. The View must be of that version, and admit a new one.
func (s *Store) Register(ctx context.Context, version Version, id, label, applicationName string) (seq int64, promised int, err error) {
	err = s.Conn.QueryRow(ctx, bump+`
INSERT INTO tenantpool_replicas AS r ("group", id, label, application_name, seq, pid, started, granted, promised)
SELECT name, $3, $4, $5, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, pid, backend_start, 0, 0
FROM bump, pg_catalog.pg_stat_activity WHERE pid = pg_catalog.pg_backend_pid()
ON CONFLICT ("group", id) DO UPDATE
SET seq = r.seq + 1, pid = excluded.pid, started = excluded.started, granted = r.promised, gone_at = NULL
RETURNING seq, promised`, s.Group, version, id, label, applicationName).Scan(&seq, &promised)
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrOutdated
	}
	return seq, promised, err
}

// Decide writes what Step has made of the View of that version, all or nothing. A report
// that came meanwhile has lowered a promise, and stays.
func (s *Store) Decide(ctx context.Context, version Version, changed []Replica) error {
	var (
		ids               []string
		granted, promised []int
		seqs              []int64
		gone              []*time.Time
		over              []bool
	)
	for _, r := range changed {
		ids, granted, promised, seqs, over = append(ids, r.ID), append(granted, r.Granted), append(promised, r.Promised), append(seqs, r.Seq), append(over, r.Over())
		var at *time.Time
		if !r.GoneAt.IsZero() {
			at = &r.GoneAt
		}
		gone = append(gone, at)
	}
	var written int
	err := s.Conn.QueryRow(ctx, bump+`, change AS (
	SELECT * FROM unnest($3::text[], $4::int[], $5::int[], $6::bigint[], $7::timestamptz[], $8::bool[]) AS c (id, granted, promised, seq, gone_at, over)
), ended AS (
	DELETE FROM tenantpool_replicas r USING bump, change c WHERE r."group" = $1 AND r.id = c.id AND c.over
), changed AS (
	UPDATE tenantpool_replicas r
	SET granted = c.granted, seq = c.seq, gone_at = c.gone_at,
		promised = CASE WHEN c.seq > r.seq THEN greatest(r.promised, c.promised) ELSE greatest(c.granted, least(r.promised, c.promised)) END
	FROM bump, change c WHERE r."group" = $1 AND r.id = c.id AND NOT c.over
)
SELECT count(*) FROM bump`, s.Group, version, ids, granted, promised, seqs, gone, over).Scan(&written)
	if err == nil && written == 0 {
		err = ErrOutdated
	}
	return err
}

// Report lowers what the replica is promised, if the seq is still that one. That it may be
// lost in a crash of the server errs on the safe side, so it does not wait for the disk.
func (s *Store) Report(ctx context.Context, id string, seq int64, promised int) error {
	return s.unsynced(ctx, `UPDATE tenantpool_replicas SET promised = least(promised, $4) WHERE "group" = $1 AND id = $2 AND seq = $3`,
		s.Group, id, seq, promised)
}

// Needs says what the replica has a use for, and how many of its connections are renamed.
func (s *Store) Needs(ctx context.Context, id string, wants, renamed int, draining bool) error {
	return s.unsynced(ctx, `UPDATE tenantpool_replicas SET wants = $3, renamed = $4, draining = $5 WHERE "group" = $1 AND id = $2`,
		s.Group, id, wants, renamed, draining)
}

// unsynced carries out a statement whose loss would do no harm, in one round trip.
func (s *Store) unsynced(ctx context.Context, sql string, args ...any) error {
	var batch pgx.Batch
	batch.Queue("SET LOCAL synchronous_commit = off") // until the end of the batch's transaction
	batch.Queue(sql, args...)
	return s.Conn.SendBatch(ctx, &batch).Close()
}

// Leave deletes the row of a replica that has nothing open any more.
func (s *Store) Leave(ctx context.Context, id string) error {
	_, err := s.Conn.Exec(ctx, `
WITH bump AS (
	UPDATE tenantpool_groups SET version = version + 1 WHERE name = $1 RETURNING name
)
DELETE FROM tenantpool_replicas r USING bump WHERE r."group" = bump.name AND r.id = $2`, s.Group, id)
	return err
}

// Row reads what a replica must know of its own row. It is also the round trip that a dial
// needs (rule 3).
func (s *Store) Row(ctx context.Context, id string) (r Replica, err error) {
	err = s.Conn.QueryRow(ctx, `SELECT id, seq, granted, promised FROM tenantpool_replicas WHERE "group" = $1 AND id = $2`, s.Group, id).
		Scan(&r.ID, &r.Seq, &r.Granted, &r.Promised)
	return r, err
}
