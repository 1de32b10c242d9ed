package door_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/pools/door"
)

// Clients who share one connection have each their own app.who, which a server does not
// list; also one that begins with it.
func TestSettingsOfNobodyAreTheClients(t *testing.T) {
	s := open(t, 1, door.Options{})
	a, b := s.connect(t, "app", "w0", ""), s.connect(t, "app", "w0", "")
	begun := s.connect(t, "app", "w0", "options=-c%20app.who%3Dbegun")
	who := func(conn *pgx.Conn, want string) {
		t.Helper()
		if got := one[string](t, conn, "SELECT coalesce(current_setting('app.who', true), '')"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	exec(t, a, "SET app.who = 'a'")
	who(begun, "begun")
	who(b, "")
	who(a, "a")
	exec(t, b, "SELECT set_config('app.who', $1, false)", "b")
	who(begun, "begun")
	who(a, "a")
	who(b, "b")
	exec(t, begun, "SET work_mem = '1MB'")
	who(a, "a")
	who(begun, "begun")
	exec(t, a, "RESET app.who")
	who(b, "b")
	who(a, "")
}
