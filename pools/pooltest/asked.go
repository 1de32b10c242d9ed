package pooltest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
)

// asked answers what package pools asks of a server, from the fake's state; nil is for
// the handler. The statements are recognised by what is in them, and a test has a manager
// ask them all.
func (f *Fake) asked(s *session, q Query) (result *Result, err error) {
	has := func(words string) bool { return strings.Contains(q.SQL, words) }
	switch {
	case q.SQL == "SELECT 1":
		return Rows("?column?").Row(int32(1)), nil
	case q.SQL == "SELECT current_timestamp":
		return Rows("current_timestamp").Row(time.Now()), nil
	case q.Workspace != "":
		return nil, nil
	case has("current_setting('max_connections')"):
		// max_connections, superuser_reserved_connections, reserved_connections, rolsuper,
		// pg_use_reserved_connections, rolconnlimit, how many sessions there are, and our role's
		most, sessions := 0, 0
		f.with(func(s *state) { most, sessions = s.max, len(s.sessions) })
		return Rows("1", "2", "3", "4", "5", "6", "7", "8").Row(
			int32(most), int32(0), int32(0), false, false, int32(-1), int32(sessions), int32(sessions)), nil
	case has("pg_catalog.current_setting($1, true)"):
		return Rows("current_setting").Row(nil), nil
	case has("FROM pg_catalog.pg_database WHERE datname = ANY"):
		return f.databasesOf(q)
	case has("FROM pg_catalog.pg_database WHERE datname = $1"):
		return f.databaseNamed(q)
	case has("SELECT pg_catalog.substr(datname::pg_catalog.text, $5) FROM pg_catalog.pg_database"):
		return f.listed(s, q)
	case has("pg_catalog.pg_terminate_backend(pid)"):
		return f.terminated(q)
	case has("FROM pg_catalog.pg_stat_activity"):
		return f.activity(q)
	}
	switch c := commandOf(q.SQL); {
	case c.second != "DATABASE":
		return nil, nil
	case c.first == "CREATE":
		return f.createDatabase(q)
	case c.first == "DROP":
		return f.dropDatabase(q)
	case c.first == "ALTER" && strings.Contains(q.SQL, " RENAME TO "):
		return f.renameDatabase(q)
	}
	return nil, nil
}

// databasesOf is the catalogue's question: which of these databases can be connected.
func (f *Fake) databasesOf(q Query) (*Result, error) {
	var names []string
	if err := q.Scan(&names); err != nil {
		return nil, err
	}
	result := Rows("datname", "datallowconn", "datconnlimit", "has_database_privilege", "rolsuper")
	f.with(func(s *state) {
		for _, name := range names {
			if s.databases[name] {
				result.Row(name, true, int32(-1), true, false)
			}
		}
	})
	return result, nil
}

// listed is a page of the workspaces: what is left of the databases' names between two
// bounds without what all begin with.
func (f *Fake) listed(s *session, q Query) (*Result, error) {
	var after, from, before string
	var limit *int
	var begin int
	if err := q.Scan(&after, &from, &before, &limit, &begin); err != nil {
		return nil, err
	}
	result := Rows("substr")
	f.with(func(all *state) {
		n := 0
		for _, name := range slices.Sorted(maps.Keys(all.databases)) {
			if name > after && name >= from && name < before && name != s.database && (limit == nil || n < *limit) {
				result.Row(name[begin-1:])
				n++
			}
		}
	})
	return result, nil
}

// terminated ends the session of a process.
func (f *Fake) terminated(q Query) (*Result, error) {
	var pid int32
	var from, to time.Time
	if err := q.Scan(&pid, &from, &to); err != nil {
		return nil, err
	}
	result := Rows("pg_terminate_backend")
	f.with(func(s *state) {
		if s.disconnect(func(session *session) bool { return session.pid == uint32(pid) }) > 0 {
			result.Row(true)
		}
	})
	return result, nil
}

// activity says who is connected to a database that is to be dropped. Other questions
// about sessions are about processes that are gone.
func (f *Fake) activity(q Query) (*Result, error) {
	if !strings.Contains(q.SQL, "datname = $1") {
		return Rows("pid", "backend_start", "datname"), nil
	}
	result := Rows("application_name", "count")
	f.with(func(s *state) {
		if n := s.connected(q.Args[0]); n > 0 {
			result.Row("pooltest", int64(n))
		}
	})
	return result, nil
}

// connected is how many sessions the database has.
func (s *state) connected(database any) (n int) {
	for _, session := range s.sessions {
		if session.database == database {
			n++
		}
	}
	return n
}

// quotedIn is the first name in quotes.
func quotedIn(sql string) string {
	_, rest, _ := strings.Cut(sql, `"`)
	name, _, _ := strings.Cut(rest, `"`)
	return name
}

func (f *Fake) createDatabase(q Query) (*Result, error) {
	name := quotedIn(q.SQL)
	var err error
	f.with(func(s *state) {
		if s.databases[name] {
			err = refusal(pgerrcode.DuplicateDatabase, fmt.Sprintf("database %q already exists", name))
			return
		}
		s.databases[name] = true
	})
	return Tag("CREATE DATABASE"), err
}

func (f *Fake) dropDatabase(q Query) (*Result, error) {
	name := quotedIn(q.SQL)
	var err error
	f.with(func(s *state) {
		if !s.databases[name] {
			err = refusal(pgerrcode.InvalidCatalogName, fmt.Sprintf("database %q does not exist", name))
			return
		}
		if strings.Contains(q.SQL, "FORCE") {
			s.disconnect(func(session *session) bool { return session.database == name })
		}
		if n := s.connected(name); n > 0 {
			err = refusal(pgerrcode.ObjectInUse, fmt.Sprintf("database %q is being accessed by other users", name))
			return
		}
		delete(s.databases, name)
	})
	return Tag("DROP DATABASE"), err
}

// databaseNamed has a row if there is such a database.
func (f *Fake) databaseNamed(q Query) (*Result, error) {
	var name string
	if err := q.Scan(&name); err != nil {
		return nil, err
	}
	result := Rows("datname")
	f.with(func(s *state) {
		if s.databases[name] {
			result.Row(name)
		}
	})
	return result, nil
}

func (f *Fake) renameDatabase(q Query) (*Result, error) {
	from := quotedIn(q.SQL)
	_, rest, _ := strings.Cut(q.SQL, " RENAME TO ")
	to := quotedIn(rest)
	var err error
	f.with(func(s *state) {
		switch {
		case !s.databases[from]:
			err = refusal(pgerrcode.InvalidCatalogName, fmt.Sprintf("database %q does not exist", from))
		case s.databases[to]:
			err = refusal(pgerrcode.DuplicateDatabase, fmt.Sprintf("database %q already exists", to))
		case s.connected(from) > 0:
			err = refusal(pgerrcode.ObjectInUse, fmt.Sprintf("database %q is being accessed by other users", from))
		default:
			delete(s.databases, from)
			s.databases[to] = true
		}
	})
	return Tag("ALTER DATABASE"), err
}
