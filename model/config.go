package model

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Config is how to reach the server and how to share it. The tags name the
// environment variables that [pools.ConfigFromEnv] reads. Start from
// [DefaultConfig] when filling one by hand.
//
// A Config prints without its Password and SSLPassword in every format.
type Config struct {
	// Host is the server: a name, an address, or the folder of its Unix socket. Several
	// are separated by commas, each with a port of its own or else with Port: db1,db2 or
	// db1:5432,db2:5433 or [::1]:5432. Each dial takes the first that lets it in and is
	// what TargetSessionAttrs asks for, so they must be the servers of one cluster, which
	// have the same databases. DialTimeout is shared out evenly among them.
	Host     string `env:"DB_HOST"`
	Port     int    `env:"DB_PORT"`
	User     string `env:"DB_USER"`
	Password string `env:"DB_PASSWORD" json:"-"`
	// PasswordFile names a file that holds the password, in place of Password. Each dial
	// reads it, so whoever changes it needs to tell nobody.
	PasswordFile string `env:"DB_PASSWORD_FILE"`
	// SSLMode is one of disable, allow, prefer, require, verify-ca, verify-full.
	SSLMode string `env:"DB_SSLMODE"`
	// TargetSessionAttrs is libpq's: which of the hosts' servers will do. any (also if it
	// is empty), read-write, read-only, primary, standby, or prefer-standby.
	TargetSessionAttrs string `env:"DB_TARGET_SESSION_ATTRS"`
	// Parameters are libpq's others, as keywords and values: search_path=app
	// sslrootcert=/etc/ca.pem options='-c statement_timeout=5s'. They are TLS's files and
	// settings, pgx's (default_query_exec_mode, statement_cache_capacity, which is 64 here
	// unless it is said), and whatever else a session is to begin with.
	Parameters string `env:"DB_PARAMETERS"`
	// SSLPassword opens the key of a client certificate (sslkey).
	SSLPassword string `json:"-"`
	// Prefix begins the workspaces' database names: <prefix>_ws_<id>.
	Prefix string `env:"DB_PREFIX"`
	// SystemDatabase is the application's own database, with a share of the
	// connections for itself.
	SystemDatabase string `env:"DB_NAME"`
	// WorkspaceTable is a table of the system database that says which database is whose,
	// in place of Prefix (see pools.WithWorkspaceTable).
	WorkspaceTable string `env:"DB_WORKSPACE_TABLE"`
	// SettingsTable is a table of the system database that holds the settings of the
	// workspaces that differ (see pools.WithSettingsTable).
	SettingsTable string `env:"DB_SETTINGS_TABLE"`

	// MaxConnections is how many connections all databases together may hold,
	// MaxConnectionsPerDB how many one workspace may.
	MaxConnections      int `env:"DB_MAX_CONNECTIONS"`
	MaxConnectionsPerDB int `env:"DB_MAX_CONNECTIONS_PER_DB"`
	// SoftMaxConnectionsPerDB is how many of MaxConnectionsPerDB a workspace need not
	// share (0: all). Beyond it a workspace has what the others leave: its waiters come
	// after theirs, and its connections go to them as soon as they are released.
	SoftMaxConnectionsPerDB int `env:"DB_SOFT_MAX_CONNECTIONS_PER_DB"`
	// SystemConnections is how many of MaxConnections are set aside for the system
	// database, one of them for the manager itself. 0: see SystemShare.
	SystemConnections int `env:"DB_SYSTEM_CONNECTIONS"`
	// SharedBudget names the group of processes that MaxConnections is for together; empty:
	// it is this process's alone. Of these each process then has what it needs and the
	// others leave, and always SystemConnections (0: 2) and one more. See package replicas.
	SharedBudget string `env:"DB_SHARED_BUDGET"`
	// ConnectionMaxLifetime ends connections that old (0: never), and
	// ConnectionMaxIdleTime those unused for that long (0: never); neither while they
	// are lent.
	ConnectionMaxLifetime time.Duration `env:"DB_CONNECTION_MAX_LIFETIME"`
	ConnectionMaxIdleTime time.Duration `env:"DB_CONNECTION_MAX_IDLE_TIME"`
	// ConnectionMaxLifetimeJitter spreads the ends of connections that were opened
	// together: each lives longer by a random part of it. 0: each lives shorter, by up to
	// a tenth of ConnectionMaxLifetime.
	ConnectionMaxLifetimeJitter time.Duration `env:"DB_CONNECTION_MAX_LIFETIME_JITTER"`
	// AcquireTimeout bounds an acquire besides its context. 0: do not wait for
	// anybody's lease to end; a free slot is still dialed.
	AcquireTimeout time.Duration `env:"DB_ACQUIRE_TIMEOUT"`
	// LeaseWarnAfter is how long a connection may be lent before a warning is logged,
	// once for each lease (0: never). Mostly it means rows, a row, a batch or a
	// transaction that nobody ended.
	LeaseWarnAfter time.Duration `env:"DB_LEASE_WARN_AFTER"`
	// LeaseTracing adds to that warning, and to the one about what Close waits for,
	// where the connection was acquired. It costs about a microsecond for each acquire: a debugging aid.
	LeaseTracing bool `env:"DB_LEASE_TRACING"`

	// In what follows zero means the default.

	// MaxDialing is how many connections are opened at once at most. How many of
	// these are best is found out from how long they take; it begins with 4.
	MaxDialing int `env:"DB_MAX_DIALING"`
	// DialTimeout bounds opening one connection, its test included.
	DialTimeout time.Duration `env:"DB_DIAL_TIMEOUT"`
	// MaxWaiters bounds the acquires that wait, MaxWaitersPerDB those of one
	// workspace; beyond that they are refused at once.
	MaxWaiters      int `env:"DB_MAX_WAITERS"`
	MaxWaitersPerDB int `env:"DB_MAX_WAITERS_PER_DB"`
	// Patience is how much longer a waiter of another workspace must have waited
	// than the own one before a released connection's slot moves there.
	Patience time.Duration `env:"DB_PATIENCE"`
	// BatchShare is the part of the workspaces' connections that batch work (pools.Batch)
	// may hold at once: more than 0, at most 1. It may always have one.
	BatchShare float64 `env:"DB_BATCH_SHARE"`
	// HealthCheckAfter is how long a connection may be idle and still be lent
	// without a test.
	HealthCheckAfter time.Duration `env:"DB_HEALTH_CHECK_AFTER"`
	// Eviction is the order in which idle connections give way: lru or lru2.
	Eviction Eviction `env:"DB_EVICTION"`
	// Planner is on or off: whether traffic is recorded, so that Manager.Capacity can say
	// which budget it needs.
	Planner string `env:"DB_PLANNER"`

	// AutoBudget lets the manager set MaxConnections itself, within bounds: 40..95. Empty: it
	// stays what it is. It needs the Planner.
	AutoBudget string `env:"DB_AUTO_BUDGET"`

	// Unused names what was set and has no effect, with the reasons. [pools.Open] logs it.
	Unused string
}

// What Limits has and Config does not.
const (
	backoffMin = 10 * time.Millisecond
	backoffMax = time.Second
	closeGrace = 100 * time.Millisecond
	probeAfter = 500 * time.Millisecond
)

// DefaultConfig is the configuration of an empty environment.
func DefaultConfig() Config {
	return Config{
		Host:                  "localhost",
		Port:                  5432,
		User:                  "postgres",
		SSLMode:               "prefer",
		Prefix:                "tenantpool",
		SystemDatabase:        "postgres",
		MaxConnections:        100,
		MaxConnectionsPerDB:   3,
		ConnectionMaxLifetime: 10 * time.Minute,
		ConnectionMaxIdleTime: 5 * time.Minute,
		AcquireTimeout:        5 * time.Second,
		LeaseWarnAfter:        time.Minute,
	}.WithDefaults()
}

// WithDefaults returns a copy in which the fields whose zero means the default
// have it.
func (c Config) WithDefaults() Config {
	c.TargetSessionAttrs = cmp.Or(c.TargetSessionAttrs, "any")
	c.MaxDialing = cmp.Or(c.MaxDialing, 32)
	c.DialTimeout = cmp.Or(c.DialTimeout, 5*time.Second)
	c.MaxWaiters = cmp.Or(c.MaxWaiters, 10_000)
	c.MaxWaitersPerDB = cmp.Or(c.MaxWaitersPerDB, 1_000)
	c.Patience = cmp.Or(c.Patience, 20*time.Millisecond)
	c.BatchShare = cmp.Or(c.BatchShare, 0.25)
	c.HealthCheckAfter = cmp.Or(c.HealthCheckAfter, 30*time.Second)
	c.Eviction = cmp.Or(c.Eviction, LRU)
	c.Planner = cmp.Or(c.Planner, on)
	return c
}

// on and off are the values of a switch.
const on, off = "on", "off"

// Plans tells whether the Planner is on.
func (c Config) Plans() bool { return c.Planner != off }

// AutoBudgetBounds are those of AutoBudget; ok is false if there is none.
func (c Config) AutoBudgetBounds() (lowest, highest int, ok bool) {
	low, high, ok := strings.Cut(c.AutoBudget, "..")
	if !ok {
		return 0, 0, false
	}
	lowest, err := strconv.Atoi(low)
	if err != nil {
		return 0, 0, false
	}
	highest, err = strconv.Atoi(high)
	return lowest, highest, err == nil
}

// SystemShare is how many of MaxConnections are set aside for the system database:
// SystemConnections, or else a tenth, at least 5 and at most 20. Of fewer than 20
// connections it is a quarter, and at least 2.
func (c Config) SystemShare() int {
	switch {
	case c.SystemConnections != 0:
		return c.SystemConnections
	case c.SharedBudget != "":
		return fewestSystemConnections // each process has as many
	case c.MaxConnections < 20:
		return max(c.MaxConnections/4, fewestSystemConnections)
	}
	return min(max(c.MaxConnections/10, 5), 20)
}

// MaxConnectionsFor is the least MaxConnections that leaves the workspaces so many.
func (c Config) MaxConnectionsFor(workspaceBudget int) int {
	c.MaxConnections = max(workspaceBudget, 1) + c.SystemConnections
	for c.WorkspaceBudget() < workspaceBudget {
		c.MaxConnections++
	}
	return c.MaxConnections
}

// fewestSystemConnections is one for the application, and the manager's own: if the
// application held all, nobody could find out that a lost connection's slot is free.
const fewestSystemConnections = 2

// WorkspaceBudget is how many connections all workspaces share.
func (c Config) WorkspaceBudget() int { return c.MaxConnections - c.SystemShare() }

// WorkspaceLimits are the limits of the workspaces' budget.
func (c Config) WorkspaceLimits() Limits {
	limits := c.limits(c.WorkspaceBudget(), c.MaxConnectionsPerDB)
	limits.SoftPerWorkspace = c.SoftMaxConnectionsPerDB
	return limits
}

// SystemLimits are the limits of the system database's share. The application may
// have all of it but one: that is for the manager's own questions to the server, on
// whose answers slots come free.
func (c Config) SystemLimits() Limits {
	return c.limits(c.SystemShare(), c.SystemShare()-1)
}

func (c Config) limits(budget, perWorkspace int) Limits {
	return Limits{
		Budget:                 budget,
		PerWorkspace:           min(perWorkspace, budget),
		MaxWaiters:             c.MaxWaiters,
		MaxWaitersPerWorkspace: min(c.MaxWaitersPerDB, c.MaxWaiters),
		MaxDialing:             c.MaxDialing,
		AdaptDialing:           true,
		BatchShare:             c.BatchShare,
		Eviction:               c.Eviction,
		Patience:               c.Patience,
		MaxLifetime:            c.ConnectionMaxLifetime,
		LifetimeJitter:         c.ConnectionMaxLifetimeJitter,
		MaxIdleTime:            c.ConnectionMaxIdleTime,
		VerifyAfter:            c.HealthCheckAfter,
		BackoffMin:             backoffMin,
		BackoffMax:             backoffMax,
		CloseGrace:             closeGrace,
		ProbeAfter:             probeAfter,
	}
}

// Format prints the Config without its passwords.
func (c Config) Format(f fmt.State, verb rune) {
	type plain Config // without this method
	if c.Password != "" {
		c.Password = "[hidden]"
	}
	if c.SSLPassword != "" {
		c.SSLPassword = "[hidden]"
	}
	_, _ = fmt.Fprintf(f, fmt.FormatString(f, verb), plain(c))
}
