package door

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tenantpool/tenantpool/model"
)

// snapshot is what the tables of the console are made of.
type snapshot struct {
	at      time.Time
	opened  time.Time
	door    model.DoorStats
	pool    model.Stats
	clients []*client
	options Options
	version string
	shown   []string // the names of the tables
}

// tables are what SHOW shows. The columns have PgBouncer's names and order.
var tables = map[string]func(*snapshot) table{
	"HELP":           showHelp,
	"VERSION":        func(s *snapshot) table { return oneColumn("version", "PgBouncer "+s.version) },
	"POOLS":          showPools,
	"DATABASES":      showDatabases,
	"CLIENTS":        showClients,
	"SERVERS":        showServers,
	"STATS":          func(s *snapshot) table { return showStats(s, true, true) },
	"STATS_TOTALS":   func(s *snapshot) table { return showStats(s, true, false) },
	"STATS_AVERAGES": func(s *snapshot) table { return showStats(s, false, true) },
	"LISTS":          showLists,
	"USERS":          showUsers,
	"CONFIG":         showConfig,
	"STATE":          showState,
	"BUDGET":         showBudget,
}

// withoutMeaning are tables of PgBouncer's about what there is not here.
var withoutMeaning = []string{"MEM", "SOCKETS", "ACTIVE_SOCKETS", "FDS", "DNS_HOSTS", "DNS_ZONES", "PEERS", "PEER_POOLS", "TOTALS", "HOSTS"}

func (c *console) show(words []word) (table, *pgproto3.ErrorResponse) {
	if len(words) != 1 {
		return table{}, refusal(pgerrcode.SyntaxError, "SHOW takes one word", helpHint)
	}
	name := strings.ToUpper(words[0].text)
	make, ok := tables[name]
	switch {
	case ok:
	case slices.Contains(withoutMeaning, name):
		return table{}, refusal(pgerrcode.FeatureNotSupported, "SHOW "+name+" is about what PgBouncer has, and tenantpool has not", helpHint)
	default:
		return table{}, refusal(pgerrcode.SyntaxError, fmt.Sprintf("there is no table %q to SHOW", words[0].text), helpHint)
	}
	ctx, stop := context.WithTimeout(context.Background(), askAtMost)
	defer stop()
	s := &snapshot{at: time.Now(), opened: c.door.opened, door: c.door.Stats(), clients: c.door.desk.list(), options: c.door.options, version: c.version(), shown: slices.Sorted(maps.Keys(tables))}
	var err error
	if s.pool, err = c.door.manager.Stats(ctx); err != nil {
		return table{}, acquireRefusal(err)
	}
	got := make(s)
	got.tag = "SHOW"
	return got, nil
}

// columnsOf makes columns of their names; a # in front of one says that it is a number.
func columnsOf(names string) (columns []column) {
	for name := range strings.FieldsSeq(names) {
		name, number := strings.CutPrefix(name, "#")
		columns = append(columns, column{name, number})
	}
	return columns
}

func oneColumn(name string, values ...string) table {
	t := table{columns: []column{{name, false}}}
	for _, v := range values {
		t.rows = append(t.rows, []string{v})
	}
	return t
}

// row makes texts of values.
func row(values ...any) []string {
	texts := make([]string, len(values))
	for i, v := range values {
		switch v := v.(type) {
		case time.Duration: // PgBouncer counts in microseconds
			texts[i] = strconv.FormatInt(v.Microseconds(), 10)
		case time.Time:
			texts[i] = v.UTC().Format("2006-01-02 15:04:05 UTC")
		default:
			texts[i] = fmt.Sprint(v)
		}
	}
	return texts
}

func showHelp(s *snapshot) table {
	return oneColumn("help",
		"SHOW "+strings.Join(s.shown, "|"),
		"PAUSE [database], RESUME [database]: let new transactions wait, and go on",
		"RECONNECT [database]: open new connections to the server, without stopping traffic",
		"KILL database: end its clients and pause it; KILL_CLIENT id",
		"RELOAD: read the users and the certificates again",
		"SHUTDOWN [WAIT_FOR_CLIENTS]: end the program",
	)
}

// workspace finds what the pool knows of one.
func (s *snapshot) workspace(id model.WorkspaceID) model.WorkspaceStats {
	for _, w := range s.pool.Workspaces.Active {
		if w.ID == id {
			return w
		}
	}
	return model.WorkspaceStats{ID: id, Cap: s.pool.Workspaces.PerWorkspace}
}

// all are the workspaces that have clients or connections.
func (s *snapshot) all() (ids []model.WorkspaceID) {
	for _, w := range s.door.Workspaces {
		ids = append(ids, w.ID)
	}
	for _, w := range s.pool.Workspaces.Active {
		ids = append(ids, w.ID)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func (s *snapshot) doorOf(id model.WorkspaceID) model.DoorWorkspace {
	for _, w := range s.door.Workspaces {
		if w.ID == id {
			return w
		}
	}
	return model.DoorWorkspace{ID: id}
}

func (s *snapshot) mode() string {
	if s.options.Pooling == SessionPooling {
		return "session"
	}
	return "transaction"
}

// showPools has a row for each workspace: all of its users share its connections. Clients
// that are idle are active ones here, as in PgBouncer.
func showPools(s *snapshot) table {
	t := table{columns: columnsOf(`database user #cl_active #cl_waiting #cl_active_cancel_req #cl_waiting_cancel_req
		#sv_active #sv_active_cancel #sv_being_canceled #sv_idle #sv_used #sv_tested #sv_login #maxwait #maxwait_us pool_mode load_balance_hosts`)}
	for _, id := range s.all() {
		d, w := s.doorOf(id), s.workspace(id)
		wait := d.LongestWait.Microseconds()
		t.rows = append(t.rows, row(id, "tenantpool", d.Clients-d.Waiting, d.Waiting, 0, 0,
			w.InUse, 0, 0, w.Idle, w.Closing, 0, w.Dialing, wait/1e6, wait%1e6, s.mode(), ""))
	}
	return t
}

func showDatabases(s *snapshot) table {
	t := table{columns: columnsOf(`name host #port database force_user #pool_size #min_pool_size #reserve_pool_size #server_lifetime
		pool_mode load_balance_hosts #max_connections #current_connections #max_client_connections #current_client_connections #paused #disabled`)}
	for _, id := range s.all() {
		w, paused := s.workspace(id), 0
		if w.Paused {
			paused = 1
		}
		t.rows = append(t.rows, row(id, "", "", id, "", w.Cap, 0, 0, "", s.mode(), "", w.Cap, w.Open(), 0, s.doorOf(id).Clients, paused, 0))
	}
	return t
}

func (c *client) stateName() string {
	switch clientState(c.state.Load()) {
	case clientWaiting:
		return "waiting"
	case clientActive, clientPinned:
		return "active"
	}
	return "idle"
}

const socketColumns = `type user database state addr #port local_addr #local_port connect_time request_time #wait #wait_us
	#close_needed ptr link #remote_pid tls application_name #prepared_statements #id`

func showClients(s *snapshot) table {
	t := table{columns: columnsOf(socketColumns)}
	for _, c := range s.clients {
		host, port := splitAddress(c.conn.RemoteAddr())
		localHost, localPort := splitAddress(c.conn.LocalAddr())
		var wait time.Duration
		since := c.since
		if at := c.stateSince.Load(); at > 0 {
			since = time.Unix(0, at)
			if clientState(c.state.Load()) == clientWaiting {
				wait = s.at.Sub(since)
			}
		}
		application := ""
		if a := c.application.Load(); a != nil {
			application = *a
		}
		t.rows = append(t.rows, row("C", c.user, c.database, c.stateName(), host, port, localHost, localPort, c.since, since,
			int64(wait/time.Second), wait.Microseconds()%1e6, 0, fmt.Sprintf("c%d", c.id), linkOf(c), 0, "", application, 0, c.id))
	}
	return t
}

func linkOf(c *client) string {
	if pid := c.server.Load(); pid != 0 {
		return fmt.Sprintf("s%d", pid)
	}
	return ""
}

// showServers has the connections that clients have at this moment. Those that are idle are
// in SHOW POOLS.
func showServers(s *snapshot) table {
	t := table{columns: columnsOf(socketColumns)}
	for _, c := range s.clients {
		if pid := c.server.Load(); pid != 0 {
			t.rows = append(t.rows, row("S", c.user, c.database, "active", "", "", "", "", "", time.Unix(0, c.stateSince.Load()), 0, 0, 0, linkOf(c), fmt.Sprintf("c%d", c.id), pid, "", "", 0, pid))
		}
	}
	return t
}

func splitAddress(a net.Addr) (host, port string) {
	if a.Network() == "unix" || a.Network() == "pipe" {
		return a.Network(), ""
	}
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String(), ""
	}
	return host, port
}

// showStats counts since the first of a workspace's clients came. Averages are of one
// second, or of one transaction or query, since the door was opened.
func showStats(s *snapshot, totals, averages bool) table {
	t := table{columns: columnsOf("database")}
	if totals {
		t.columns = append(t.columns, columnsOf(`#total_server_assignment_count #total_xact_count #total_query_count #total_received #total_sent #total_xact_time #total_query_time #total_wait_time`)...)
	}
	if averages {
		t.columns = append(t.columns, columnsOf(`#avg_server_assignment_count #avg_xact_count #avg_query_count #avg_recv #avg_sent #avg_xact_time #avg_query_time #avg_wait_time`)...)
	}
	seconds := max(1, uint64(s.at.Sub(s.opened)/time.Second))
	for _, w := range s.door.Workspaces {
		values := row(w.ID)
		if totals {
			values = append(values, row(w.Transactions, w.Transactions, w.Queries, w.FromClients, w.FromServers, w.TransactionTime, w.QueryTime, w.WaitTime)...)
		}
		if averages {
			per := func(d time.Duration, n uint64) time.Duration { return d / time.Duration(max(1, n)) }
			values = append(values, row(w.Transactions/seconds, w.Transactions/seconds, w.Queries/seconds, w.FromClients/seconds, w.FromServers/seconds,
				per(w.TransactionTime, w.Transactions), per(w.QueryTime, w.Queries), per(w.WaitTime, w.Transactions))...)
		}
		t.rows = append(t.rows, values)
	}
	return t
}

func showLists(s *snapshot) table {
	t := table{columns: columnsOf("list #items")}
	users := map[string]bool{}
	for _, c := range s.clients {
		users[c.user] = true
	}
	for _, l := range []struct {
		name  string
		items int
	}{
		{"databases", len(s.all())}, {"users", len(users)}, {"pools", len(s.all())}, {"free_clients", s.options.MaxClients - s.door.Clients},
		{"used_clients", s.door.Clients}, {"login_clients", s.door.Starting}, {"free_servers", s.pool.Workspaces.Idle},
		{"used_servers", s.pool.Workspaces.InUse}, {"dns_names", 0}, {"dns_zones", 0}, {"dns_queries", 0}, {"dns_pending", 0},
	} {
		t.rows = append(t.rows, row(l.name, l.items))
	}
	return t
}

// showUsers has the users that are logged in.
func showUsers(s *snapshot) table {
	t := table{columns: columnsOf("name pool_mode #pool_size #max_user_connections #current_connections #max_user_client_connections #current_client_connections")}
	logins := map[string]int{}
	var names []string
	for _, c := range s.clients {
		if logins[c.user]++; logins[c.user] == 1 {
			names = append(names, c.user)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		t.rows = append(t.rows, row(name, "", "", 0, 0, 0, logins[name]))
	}
	return t
}

func showConfig(s *snapshot) table {
	t := table{columns: columnsOf("key value default changeable")}
	state := "pin"
	if s.options.SessionState == RefuseSession {
		state = "refuse"
	}
	for _, c := range []struct{ key, value, otherwise string }{
		{"client_idle_timeout", fmt.Sprint(s.options.ClientIdleTimeout.Seconds()), "0"},
		{"client_login_timeout", fmt.Sprint(s.options.LoginTimeout.Seconds()), "15"},
		{"default_pool_size", fmt.Sprint(s.pool.MaxConnectionsPerDB), "3"},
		{"idle_transaction_timeout", fmt.Sprint(s.options.IdleTransactionTimeout.Seconds()), "0"},
		{"max_client_conn", fmt.Sprint(s.options.MaxClients), "10000"},
		{"max_db_connections", fmt.Sprint(s.pool.MaxConnectionsPerDB), "3"},
		{"max_prepared_statements", fmt.Sprint(preparedAtMost), fmt.Sprint(preparedAtMost)},
		{"pool_mode", s.mode(), "transaction"},
		{"session_state", state, "pin"},
		{"total_connections", fmt.Sprint(s.pool.MaxConnections), "100"},
	} {
		t.rows = append(t.rows, row(c.key, c.value, c.otherwise, "no"))
	}
	return t
}

func showState(s *snapshot) table {
	t := table{columns: columnsOf("key value")}
	paused := "no"
	for _, w := range s.pool.Workspaces.Active {
		if w.Paused {
			paused = "yes"
		}
	}
	t.rows = append(t.rows, row("active", map[bool]string{true: "no", false: "yes"}[s.door.Draining]), row("paused", paused), row("suspended", "no"))
	return t
}

// showBudget is tenantpool's own: what the workspaces share.
func showBudget(s *snapshot) table {
	t := table{columns: columnsOf("#budget #in_use #idle #dialing #closing #waiting #per_workspace")}
	w := s.pool.Workspaces
	t.rows = append(t.rows, row(w.Budget, w.InUse, w.Idle, w.Dialing, w.Closing, w.Waiting, w.PerWorkspace))
	return t
}
