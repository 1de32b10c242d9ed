package replicas

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantpool/tenantpool/model"
)

// Schema makes the two tables, in the system database, where they are missing. Their pages
// keep room, so that an update of a row stays on its page and touches no index.
const Schema = `
CREATE TABLE IF NOT EXISTS tenantpool_groups (
	name      text        PRIMARY KEY,
	version   bigint      NOT NULL DEFAULT 0, -- of the decision made last
	budget    int         NOT NULL,
	floor     int         NOT NULL,
	looked_at timestamptz NOT NULL DEFAULT now() -- when somebody last looked whether there is something to decide
) WITH (fillfactor = 25);
CREATE TABLE IF NOT EXISTS tenantpool_replicas (
	"group"          text        NOT NULL REFERENCES tenantpool_groups ON DELETE CASCADE,
	id               text        NOT NULL, -- of the process; never used again
	label            text        NOT NULL, -- for people
	application_name text        NOT NULL, -- of its connections, but the control session
	max_dialing      int         NOT NULL, -- how many of its dials may be on their way when it is gone
	joined           timestamptz NOT NULL DEFAULT now(),
	seq              bigint      NOT NULL,
	pid              int         NOT NULL, -- of the control session
	control          text        NOT NULL, -- the control session's application_name, which is the replica's alone
	granted          int         NOT NULL,
	promised         int         NOT NULL CHECK (promised >= granted),
	wants            int         NOT NULL DEFAULT 0, -- what follows is as the replica said it last
	open             int         NOT NULL DEFAULT 0,
	in_use           int         NOT NULL DEFAULT 0,
	waiting          int         NOT NULL DEFAULT 0,
	draining         bool        NOT NULL DEFAULT false,
	gone_at          timestamptz,
	PRIMARY KEY ("group", id)
) WITH (fillfactor = 25)`

// Store is the two tables, and the server's list of sessions, seen through one control
// session. One goroutine owns it.
type Store struct {
	Conn *pgx.Conn
	// Group is the group's name.
	Group string
	// MaxDialing and Settle are those of the Views.
	MaxDialing int
	Settle     time.Duration
	// Guest: Conn is no control session but a tool's, and those of its application_name are
	// not counted. RoleName is the replicas' role, if Conn is another's.
	Guest    bool
	RoleName string
}

// ControlName is what the application_name of each control session begins with.
const ControlName = "tenantpool control session "

// Version is the state of the group that a View was read in.
type Version int64

// ErrOutdated tells that somebody has decided since the View was read: nothing was written.
var ErrOutdated = errors.New("the group has changed since it was read")

// Found makes the group if it is not there, and returns the budget and the floor that it
// has. It makes none that is too small for one replica: a mistake would stay for all who
// come later.
func (s *Store) Found(ctx context.Context, budget, floor int) (Group, error) {
	g := Group{Budget: budget, Floor: floor, MaxDialing: s.MaxDialing, Settle: s.Settle}
	tooSmall := g.Fits(1)
	if tooSmall == nil {
		if _, err := s.Conn.Exec(ctx, `INSERT INTO tenantpool_groups (name, budget, floor) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, s.Group, budget, floor); err != nil {
			return g, err
		}
	}
	err := s.Conn.QueryRow(ctx, `SELECT budget, floor FROM tenantpool_groups WHERE name = $1`, s.Group).Scan(&g.Budget, &g.Floor)
	if tooSmall != nil && errors.Is(err, pgx.ErrNoRows) {
		err = tooSmall
	}
	return g, err
}

// Of another role's session, pid, usename and application_name are all that the server shows;
// credentials that rotate may have several roles.
//
// The list of sessions is not read in one moment; what a decision takes back of it counts
// only in a look that began after the one in which the replica was first missed (rule 5).
// A login that waits for a lock of its database is in no list of sessions yet, and counts.
const readView = `
WITH sessions AS MATERIALIZED (
	SELECT pid, application_name FROM pg_catalog.pg_stat_activity
	WHERE usename = coalesce(nullif($3, ''), session_user) AND coalesce(backend_type, 'client backend') = 'client backend' AND NOT ($2 AND application_name = current_setting('application_name'))
		OR usename <> coalesce(nullif($3, ''), session_user) AND application_name IN (
			SELECT unnest(ARRAY[application_name, control]) FROM tenantpool_replicas WHERE "group" = $1)
), logins AS (
	SELECT count(DISTINCT l.pid) AS waiting FROM pg_catalog.pg_locks l
	WHERE NOT l.granted AND l.classid = 'pg_catalog.pg_database'::pg_catalog.regclass
		AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.pid = l.pid)
)
SELECT g.version, g.budget, g.floor, (SELECT count(*) FROM sessions), (SELECT waiting FROM logins), pg_catalog.clock_timestamp(),
	r.id, r.label, r.joined, r.seq, r.granted, r.promised, r.wants, r.open, r.in_use, r.waiting, r.draining, r.gone_at,
	r.max_dialing, EXISTS (SELECT FROM sessions s WHERE s.pid = r.pid AND s.application_name = r.control),
	(SELECT count(*) FROM sessions s WHERE s.application_name = r.application_name)
FROM tenantpool_groups g LEFT JOIN tenantpool_replicas r ON r."group" = g.name
WHERE g.name = $1
ORDER BY r.joined, r.id`

// member is a row as a View or a model.SharedBudget has it; nil: the group has none.
type member struct {
	id, label         *string
	joined, goneAt    *time.Time
	seq               *int64
	granted, promised *int
	wants, open       *int
	inUse, waiting    *int
	draining          *bool
	maxDialing        *int
	present           bool
	visible           int
}

// read reads the group, and calls each for its rows.
func (s *Store) read(ctx context.Context, each func(r member, now time.Time)) (v View, version Version, now time.Time, err error) {
	rows, err := s.Conn.Query(ctx, readView, s.Group, s.Guest, s.RoleName)
	if err != nil {
		return View{}, 0, time.Time{}, err
	}
	v.MaxDialing, v.Settle = s.MaxDialing, s.Settle
	var (
		sessions, logins, owned int
		r                       member
	)
	found, err := pgx.ForEachRow(rows, []any{
		&version, &v.Budget, &v.Floor, &sessions, &logins, &now,
		&r.id, &r.label, &r.joined, &r.seq, &r.granted, &r.promised, &r.wants, &r.open, &r.inUse, &r.waiting, &r.draining, &r.goneAt,
		&r.maxDialing, &r.present, &r.visible,
	}, func() error {
		if r.id == nil {
			return nil
		}
		v.MaxDialing = max(v.MaxDialing, *r.maxDialing) // whoever decides may have another
		one := Replica{
			ID: *r.id, Seq: *r.seq, Granted: *r.granted, Promised: *r.promised, Wants: *r.wants, Draining: *r.draining,
			Present: r.present, Visible: r.visible,
		}
		owned += r.visible
		if r.present {
			// Whoever renamed a connection is not a stranger: it lacks where it belongs.
			owned += 1 + max(0, min(*r.open, *r.promised)-r.visible)
		} else {
			one.Visible += logins
		}
		if r.goneAt != nil {
			one.GoneAt = *r.goneAt
		}
		v.Replicas = append(v.Replicas, one)
		if each != nil {
			each(r, now)
		}
		return nil
	})
	if err == nil && found.RowsAffected() == 0 {
		err = &NoGroupError{s.Group}
	}
	v.Strangers = max(0, sessions-owned)
	return v, version, now, err
}

// NoGroupError tells that there is no such group.
type NoGroupError struct{ Group string }

func (e *NoGroupError) Error() string {
	return fmt.Sprintf("there is no group %q: the first process that is started with DB_SHARED_BUDGET=%s makes it", e.Group, e.Group)
}

// View reads the group, and the server's clock.
func (s *Store) View(ctx context.Context) (v View, version Version, now time.Time, err error) {
	return s.read(ctx, nil)
}

// Show reads the group as people see it. self is the ID of the replica that asks, or "".
func (s *Store) Show(ctx context.Context, self string) (model.SharedBudget, error) {
	b := model.SharedBudget{Group: s.Group, RoleLimit: -1}
	v, _, _, err := s.read(ctx, func(r member, now time.Time) {
		one := model.Replica{
			ID: *r.id, Label: *r.label, Self: *r.id == self, State: model.ReplicaPresent, Age: now.Sub(*r.joined),
			Share: *r.promised, Granted: *r.granted, Wants: *r.wants, Open: r.visible, InUse: *r.inUse, Waiting: *r.waiting,
		}
		switch {
		case !r.present:
			one.State, one.InUse, one.Waiting, one.Wants = model.ReplicaGone, 0, 0, 0
		case *r.draining:
			one.State = model.ReplicaLeaving
		}
		b.Replicas = append(b.Replicas, one)
	})
	if err != nil {
		return model.SharedBudget{}, err
	}
	b.Budget, b.Floor, b.Strangers = v.Budget, v.Floor, v.Strangers
	b.Reserve, b.Free = v.reserve(), v.free()+v.reserve()
	b.RoleLimit, err = s.Fence(ctx)
	return b, err
}

// Fence is the role's CONNECTION LIMIT; -1: it has none, or none holds for it because it is
// a superuser.
func (s *Store) Fence(ctx context.Context) (limit int, err error) {
	err = s.Conn.QueryRow(ctx, `SELECT CASE WHEN rolsuper THEN -1 ELSE rolconnlimit END FROM pg_catalog.pg_roles WHERE rolname = coalesce(nullif($1, ''), session_user)`, s.RoleName).Scan(&limit)
	return limit, err
}

// SetBudget changes the group's budget. One that is too small for the replicas that there
// are is refused.
func (s *Store) SetBudget(ctx context.Context, budget int) error {
	for {
		v, version, _, err := s.View(ctx)
		if err != nil {
			return err
		}
		v.Budget = budget
		if err := v.Fits(max(1, len(v.Replicas))); err != nil {
			return err
		}
		tag, err := s.Conn.Exec(ctx, `UPDATE tenantpool_groups SET budget = $3, version = version + 1 WHERE name = $1 AND version = $2`, s.Group, version, budget)
		if err != nil || tag.RowsAffected() > 0 {
			return err
		}
	}
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
INSERT INTO tenantpool_replicas AS r ("group", id, label, application_name, max_dialing, seq, pid, control, granted, promised)
SELECT name, $3, $4, $5, $6, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, pid, application_name, 0, 0
FROM bump, pg_catalog.pg_stat_activity WHERE pid = pg_catalog.pg_backend_pid()
ON CONFLICT ("group", id) DO UPDATE
SET seq = r.seq + 1, pid = excluded.pid, control = excluded.control, max_dialing = excluded.max_dialing, granted = r.promised, gone_at = NULL
RETURNING seq, promised`, s.Group, version, id, label, applicationName, s.MaxDialing).Scan(&seq, &promised)
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
	_, err := s.unsynced(ctx, `UPDATE tenantpool_replicas SET promised = least(promised, $4) WHERE "group" = $1 AND id = $2 AND seq = $3`,
		s.Group, id, seq, promised)
	return err
}

// Say writes what the replica is doing. From a session that is no longer the row's it comes
// too late, and says nothing.
func (s *Store) Say(ctx context.Context, id string, u Use, draining bool) error {
	_, err := s.unsynced(ctx, `
UPDATE tenantpool_replicas SET wants = $3, open = $4, in_use = $5, waiting = $6, draining = $7
WHERE "group" = $1 AND id = $2 AND pid = pg_catalog.pg_backend_pid()`,
		s.Group, id, u.Wants, u.Open, u.InUse, u.Waiting, draining)
	return err
}

// unsynced carries out a statement whose loss would do no harm, in one round trip.
func (s *Store) unsynced(ctx context.Context, sql string, args ...any) (changed int64, err error) {
	var batch pgx.Batch
	batch.Queue("SET LOCAL synchronous_commit = off") // until the end of the batch's transaction
	batch.Queue(sql, args...).Exec(func(tag pgconn.CommandTag) error {
		changed = tag.RowsAffected()
		return nil
	})
	return changed, s.Conn.SendBatch(ctx, &batch).Close()
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

// Row is what a replica must know.
type Row struct {
	Replica
	Group
	// LookedAt is when somebody last claimed to look at the whole group, and Ago how long
	// ago that was.
	LookedAt time.Time
	Ago      time.Duration
}

// Row reads it. It is also the round trip that a dial needs (rule 3).
func (s *Store) Row(ctx context.Context, id string) (r Row, err error) {
	var ago int64
	err = s.Conn.QueryRow(ctx, `
SELECT r.id, r.seq, r.granted, r.promised, g.budget, g.floor, g.looked_at, (extract(epoch FROM pg_catalog.clock_timestamp() - g.looked_at) * 1000000)::bigint
FROM tenantpool_groups g JOIN tenantpool_replicas r ON r."group" = g.name WHERE g.name = $1 AND r.id = $2`, s.Group, id).
		Scan(&r.ID, &r.Seq, &r.Granted, &r.Promised, &r.Budget, &r.Floor, &r.LookedAt, &ago)
	r.Ago = time.Duration(ago) * time.Microsecond
	return r, err
}

// Claim takes the turn to look after the one of lookedAt. One of all who try has it.
func (s *Store) Claim(ctx context.Context, lookedAt time.Time) (mine bool, err error) {
	n, err := s.unsynced(ctx, `UPDATE tenantpool_groups SET looked_at = pg_catalog.clock_timestamp() WHERE name = $1 AND looked_at = $2`, s.Group, lookedAt)
	return n > 0, err
}
