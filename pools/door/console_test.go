package door_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/pools/door"
)

func TestTheConsoleShowsAndSteers(t *testing.T) {
	s := open(t, 2, door.Options{})
	app := s.connect(t, "app", "w0", "application_name=shop")
	exec(t, app, "SELECT 1")
	for _, mode := range []string{"simple_protocol", "exec", "cache_statement"} {
		admin := s.connect(t, "app", "pgbouncer", "default_query_exec_mode="+mode)
		for _, name := range []string{"HELP", "VERSION", "POOLS", "DATABASES", "CLIENTS", "SERVERS", "STATS", "STATS_TOTALS", "STATS_AVERAGES", "LISTS", "USERS", "CONFIG", "STATE", "BUDGET"} {
			rows, err := admin.Query(t.Context(), "SHOW "+name)
			if err != nil {
				t.Fatalf("%s: %s: %v", mode, name, err)
			}
			n, columns := 0, len(rows.FieldDescriptions())
			for rows.Next() {
				n++
				if got := len(rows.RawValues()); got != columns {
					t.Fatalf("%s: %d values for %d columns", name, got, columns)
				}
				if _, err := rows.Values(); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
			if err := rows.Err(); err != nil || n == 0 && name != "SERVERS" {
				t.Errorf("%s: SHOW %s: %d rows, %v", mode, name, n, err)
			}
		}
	}
	admin := s.connect(t, "app", "tenantpool", "default_query_exec_mode=simple_protocol")
	exec(t, admin, "PAUSE w0;")
	waits := make(chan error, 1)
	go func() { waits <- app.Ping(t.Context()) }()
	eventually(t, "the client waits", func() bool { return s.door.Stats().Waiting == 1 })
	exec(t, admin, `resume "w0"`)
	if err := <-waits; err != nil {
		t.Error(err)
	}
	exec(t, admin, "RECONNECT w0")
	exec(t, admin, "PAUSE")
	exec(t, admin, "RESUME")
	exec(t, app, "SELECT 1")
	for sql, want := range map[string]string{
		"SELECT 1": "42601", "SHOW NOTHING": "42601", "SHOW MEM": "0A000", "PAUSE no/id": "3D000", "SET x = 1": "0A000",
		"SHOW POOLS; KILL w0": "42601", "KILL": "42601", "KILL_CLIENT 99999": "42704", "RELOAD": "0A000",
	} {
		if _, err := admin.Exec(t.Context(), sql); state(err) != want {
			t.Errorf("%s: %v", sql, err)
		}
	}
	viewer := s.connect(t, "viewer", "tenantpool", "default_query_exec_mode=simple_protocol")
	exec(t, viewer, "SHOW CLIENTS")
	for _, sql := range []string{"KILL w0", "PAUSE", "SHUTDOWN", "RELOAD", "KILL_CLIENT 1", "show clients; kill w0"} {
		if _, err := viewer.Exec(t.Context(), sql); state(err) != "42501" && !strings.Contains(sql, ";") {
			t.Errorf("a viewer may %s: %v", sql, err)
		}
	}
	if _, err := pgx.Connect(t.Context(), s.dsn("one", "tenantpool", "")); state(err) != "42501" {
		t.Errorf("a user without console: %v", err)
	}
	// Each name is its own text's.
	named := s.connect(t, "app", "tenantpool", "")
	for name, sql := range map[string]string{"look": "SHOW STATE", "end": "KILL w0"} {
		if _, err := named.PgConn().Prepare(t.Context(), name, sql, nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := named.PgConn().ExecPrepared(t.Context(), "look", nil, nil, nil).Read(); got.Err != nil || got.CommandTag.String() != "SHOW" {
		t.Errorf("look: %s, %v", got.CommandTag, got.Err)
	}
	clients := s.door.Stats().Clients
	exec(t, admin, "KILL w0")
	eventually(t, "its client is gone", func() bool { return s.door.Stats().Clients == clients-1 })
	exec(t, admin, "RESUME w0")
}
