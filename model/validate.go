package model

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// ConfigError says which variable has which value and what it may be.
type ConfigError struct {
	// Variable is the name of the environment variable.
	Variable string
	Value    any
	// Want is what is accepted.
	Want string
}

func (e *ConfigError) Error() string {
	return fmt.Sprintf("%s is %v: it must be %s", e.Variable, e.Value, e.Want)
}

// Validate reports every value that is out of range, as *ConfigErrors joined.
func (c Config) Validate() error {
	c = c.WithDefaults()
	_, badHosts := c.addresses()
	return errors.Join(
		badHosts,
		within("DB_PORT", c.Port, 1, 65535),
		required("DB_USER", c.User),
		noNUL("DB_PASSWORD", c.Password),
		oneOfTwo("DB_PASSWORD", c.Password, "DB_PASSWORD_FILE", c.PasswordFile),
		oneOf("DB_SSLMODE", c.SSLMode, "disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
		oneOf("DB_TARGET_SESSION_ATTRS", c.TargetSessionAttrs, "any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
		prefix("DB_PREFIX", c.Prefix),
		required("DB_NAME", c.SystemDatabase),
		within("DB_MAX_CONNECTIONS", c.MaxConnections, fewestSystemConnections+1, MostConnections),
		c.systemConnections(),
		noNUL("DB_SHARED_BUDGET", c.SharedBudget),
		within("DB_MAX_CONNECTIONS_PER_DB", c.MaxConnectionsPerDB, 1, MostConnectionsPerDB),
		within("DB_SOFT_MAX_CONNECTIONS_PER_DB", c.SoftMaxConnectionsPerDB, 0, max(0, c.MaxConnectionsPerDB)),
		zeroOrWithin("DB_CONNECTION_MAX_LIFETIME", c.ConnectionMaxLifetime, time.Second),
		within("DB_CONNECTION_MAX_LIFETIME_JITTER", c.ConnectionMaxLifetimeJitter, 0, forEver),
		zeroOrWithin("DB_CONNECTION_MAX_IDLE_TIME", c.ConnectionMaxIdleTime, time.Second),
		within("DB_ACQUIRE_TIMEOUT", c.AcquireTimeout, 0, forEver),
		zeroOrWithin("DB_LEASE_WARN_AFTER", c.LeaseWarnAfter, 10*time.Millisecond),
		within("DB_MAX_DIALING", c.MaxDialing, 1, 1_000),
		within("DB_DIAL_TIMEOUT", c.DialTimeout, 10*time.Millisecond, forEver),
		within("DB_MAX_WAITERS", c.MaxWaiters, 1, 1_000_000),
		within("DB_MAX_WAITERS_PER_DB", c.MaxWaitersPerDB, 1, 1_000_000),
		within("DB_PATIENCE", c.Patience, 1, time.Minute),
		share("DB_BATCH_SHARE", c.BatchShare),
		within("DB_HEALTH_CHECK_AFTER", c.HealthCheckAfter, time.Millisecond, forEver),
		oneOf("DB_EVICTION", string(c.Eviction), string(LRU), string(LRU2)),
		oneOf("DB_PLANNER", c.Planner, on, off),
		c.autoBudget(),
	)
}

// systemConnections must leave the workspaces one.
func (c Config) systemConnections() error {
	n := c.SystemConnections
	if n == 0 || c.MaxConnections <= fewestSystemConnections || fewestSystemConnections <= n && n < c.MaxConnections {
		return nil
	}
	return &ConfigError{"DB_SYSTEM_CONNECTIONS", n, fmt.Sprintf("0 (the default share), or from %d to %d, so that DB_MAX_CONNECTIONS (%d) leaves the workspaces one",
		fewestSystemConnections, c.MaxConnections-1, c.MaxConnections)}
}

// autoBudget is bounds that are in order, in which MaxConnections lies.
func (c Config) autoBudget() error {
	if c.AutoBudget == "" {
		return nil
	}
	const variable = "DB_AUTO_BUDGET"
	lowest, highest, ok := c.AutoBudgetBounds()
	least := max(fewestSystemConnections, c.SystemConnections) + 1
	switch {
	case !ok || lowest > highest || lowest < least || highest > MostConnections:
		return &ConfigError{variable, fmt.Sprintf("%q", c.AutoBudget), fmt.Sprintf("the lowest and the highest budget, as 40..95, from %d to %d", least, MostConnections)}
	case c.MaxConnections < lowest || c.MaxConnections > highest:
		return &ConfigError{variable, c.AutoBudget, fmt.Sprintf("bounds in which DB_MAX_CONNECTIONS (%d) lies", c.MaxConnections)}
	case !c.Plans():
		return &ConfigError{variable, c.AutoBudget, "empty while DB_PLANNER is off"}
	}
	return nil
}

// MostConnections and MostConnectionsPerDB are the largest MaxConnections and
// MaxConnectionsPerDB.
const (
	MostConnections      = 10_000
	MostConnectionsPerDB = 50
)

// forEver is the upper end of ranges of durations that have none.
const forEver = time.Duration(math.MaxInt64)

func within[T int | time.Duration](variable string, v, low, high T) error {
	if low <= v && v <= high {
		return nil
	}
	want := fmt.Sprintf("from %v to %v", low, high)
	if d, ok := any(high).(time.Duration); ok && d == forEver {
		want = fmt.Sprintf("%v or more", low)
	}
	return &ConfigError{variable, v, want}
}

func zeroOrWithin(variable string, v, low time.Duration) error {
	if v == 0 || v >= low {
		return nil
	}
	return &ConfigError{variable, v, fmt.Sprintf("0 (never) or at least %v", low)}
}

func share(variable string, v float64) error {
	if 0 < v && v <= 1 {
		return nil
	}
	return &ConfigError{variable, v, "more than 0 and at most 1"}
}

func required(variable, v string) error {
	if v == "" {
		return &ConfigError{variable, "empty", "set"}
	}
	return noNUL(variable, v)
}

// noNUL: a NUL would end the value in the server's startup message. The value
// is not shown, because it may be the password.
func noNUL(variable, v string) error {
	if strings.ContainsRune(v, 0) {
		return &ConfigError{variable, "not usable", "without a NUL byte"}
	}
	return nil
}

// oneOfTwo: the values are not shown, because one may be the password.
func oneOfTwo(variable, v, other, w string) error {
	if v == "" || w == "" {
		return nil
	}
	return &ConfigError{variable, "set, and so is " + other, "one of them"}
}

func oneOf(variable, v string, accepted ...string) error {
	if slices.Contains(accepted, v) {
		return nil
	}
	return &ConfigError{variable, fmt.Sprintf("%q", v), "one of " + strings.Join(accepted, ", ")}
}

// prefix: it shares 63 bytes with "_ws_" and at least one byte of an id.
func prefix(variable, v string) error {
	id := WorkspaceID(v)
	if err := id.Validate(); err != nil || len(v) > MaxNameLength-len("_ws_")-1 {
		return &ConfigError{variable, fmt.Sprintf("%q", v), "1 to 58 characters out of A-Z a-z 0-9 _ -"}
	}
	return nil
}
