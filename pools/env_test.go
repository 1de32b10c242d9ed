package pools_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// variables are all that ConfigFromEnv reads.
var variables = []string{
	"DB_HOST", "DB_PORT", "DB_USER", "DB_PASSWORD", "DB_PASSWORD_FILE", "DB_SSLMODE", "DB_TARGET_SESSION_ATTRS", "DB_PREFIX", "DB_NAME", "DB_WORKSPACE_TABLE", "DB_SETTINGS_TABLE",
	"DB_MAX_CONNECTIONS", "DB_MAX_CONNECTIONS_PER_DB", "DB_SOFT_MAX_CONNECTIONS_PER_DB", "DB_SHARED_BUDGET", "DB_SYSTEM_CONNECTIONS",
	"DB_CONNECTION_MAX_LIFETIME", "DB_CONNECTION_MAX_LIFETIME_JITTER", "DB_CONNECTION_MAX_IDLE_TIME", "DB_ACQUIRE_TIMEOUT",
	"DB_LEASE_WARN_AFTER", "DB_LEASE_TRACING", "DB_MAX_DIALING", "DB_DIAL_TIMEOUT", "DB_MAX_WAITERS", "DB_MAX_WAITERS_PER_DB",
	"DB_PATIENCE", "DB_BATCH_SHARE", "DB_HEALTH_CHECK_AFTER", "DB_EVICTION", "DB_PLANNER", "DB_AUTO_BUDGET", "DB_PARAMETERS",
}

// environment has, for this test, the variables given as NAME=value and no other
// one of ours.
func environment(t *testing.T, set ...string) {
	t.Helper()
	for _, line := range os.Environ() {
		name, _, _ := strings.Cut(line, "=")
		if strings.HasPrefix(name, "DB_") || strings.HasPrefix(name, "PG") || name == "DATABASE_URL" {
			t.Setenv(name, "") // which restores it afterwards
			_ = os.Unsetenv(name)
		}
	}
	for _, line := range set {
		name, value, _ := strings.Cut(line, "=")
		t.Setenv(name, value)
	}
}

// published are the defaults that the documentation promises.
var published = model.Config{
	Host: "localhost", Port: 5432, User: "postgres", SSLMode: "prefer", TargetSessionAttrs: "any", Prefix: "tenantpool", SystemDatabase: "postgres",
	MaxConnections: 100, MaxConnectionsPerDB: 3,
	ConnectionMaxLifetime: 10 * time.Minute, ConnectionMaxIdleTime: 5 * time.Minute, AcquireTimeout: 5 * time.Second,
	LeaseWarnAfter: time.Minute, MaxDialing: 32, DialTimeout: 5 * time.Second, MaxWaiters: 10_000, MaxWaitersPerDB: 1_000,
	Patience: 20 * time.Millisecond, BatchShare: 0.25, HealthCheckAfter: 30 * time.Second, Eviction: model.LRU, Planner: "on",
}

func TestAnEmptyEnvironmentGivesTheDefaults(t *testing.T) {
	environment(t)
	if cfg, err := pools.ConfigFromEnv(); err != nil || cfg != published {
		t.Errorf("%+v %v", cfg, err)
	}
}

func TestThePasswordMayLieInAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("a=b'c\\ d\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	environment(t, "DB_PASSWORD_FILE="+file)
	if cfg, err := pools.ConfigFromEnv(); err != nil || cfg.PasswordFile != file || cfg.Password != "" {
		t.Errorf("%+v %v", cfg, err)
	}
	environment(t, "DB_PASSWORD_FILE="+file+".old")
	if _, err := pools.ConfigFromEnv(); err == nil || !strings.Contains(err.Error(), "DB_PASSWORD_FILE") {
		t.Errorf("a file that is not there: %v", err)
	}
	environment(t, "DB_PASSWORD_FILE="+file, "DB_PASSWORD=hunter2", "DB_PORT=0")
	_, err := pools.ConfigFromEnv()
	if err == nil || !strings.Contains(err.Error(), "DB_PASSWORD is set, and so is DB_PASSWORD_FILE") || !strings.Contains(err.Error(), "DB_PORT") ||
		strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v", err)
	}
}

// One source says where to connect; the others are named, and no password leaves its own.
func TestWhereToConnectIsSaidByOneSource(t *testing.T) {
	const url, inShell = "DATABASE_URL=postgres://u:pw@h:1/d?sslmode=disable", "PGHOST=p PGPORT=2 PGUSER=pu PGPASSWORD=ppw PGDATABASE=pd PGSSLMODE=disable PGOPTIONS=-cgeqo=off"
	none := filepath.Join(t.TempDir(), "none")
	if err := os.WriteFile(none, []byte("filed"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		set    string
		want   model.Config
		unused string
	}{
		{"DB_HOST=db DB_NAME=x " + url + " " + inShell, model.Config{Host: "db", Port: 5432, User: "postgres", SystemDatabase: "x", SSLMode: "prefer"},
			"DATABASE_URL: DB_HOST, DB_PORT or DB_USER says where to connect; PGHOST: "},
		{url + " DB_NAME=x DB_PASSWORD=mine DB_DIAL_TIMEOUT=3s", model.Config{Host: "h", Port: 1, User: "u", Password: "mine", SystemDatabase: "x", SSLMode: "disable", DialTimeout: 3 * time.Second}, ""},
		{url + " DB_PASSWORD_FILE=" + none, model.Config{Host: "h", Port: 1, User: "u", PasswordFile: none, SystemDatabase: "d", SSLMode: "disable"}, ""},
		{url + "&pool_min_conns=3&connect_timeout=7 DB_MAX_CONNECTION=7", model.Config{Host: "h", Port: 1, User: "u", Password: "pw", SystemDatabase: "d", SSLMode: "disable", DialTimeout: 7 * time.Second},
			"pool_min_conns: no connection is kept for a workspace that nobody uses; DB_MAX_CONNECTION: there is no such variable"},
		{inShell, model.Config{Host: "p", Port: 2, User: "pu", Password: "ppw", SystemDatabase: "pd", SSLMode: "disable", Parameters: "options=-cgeqo=off"}, ""},
		{"PGHOST=p", model.Config{Host: "p", Port: 5432, User: "postgres", SystemDatabase: "postgres", SSLMode: "prefer"}, ""},
		{"PGTZ=Asia/Tokyo PGPASSFILE=/none", model.Config{Host: "localhost", Port: 5432, User: "postgres", SystemDatabase: "postgres", SSLMode: "prefer", Parameters: "timezone=Asia/Tokyo"}, ""},
		{"PGAPPNAME=shop PGSSLCERT=/none", model.Config{Host: "localhost", Port: 5432, User: "postgres", SystemDatabase: "postgres", SSLMode: "prefer"}, ""},
	} {
		environment(t, append(strings.Fields(test.set), "HOME="+t.TempDir())...)
		cfg, err := pools.ConfigFromEnv()
		if err != nil {
			t.Errorf("%s: %v", test.set, err)
			continue
		}
		want := model.DefaultConfig()
		w := test.want
		want.Host, want.Port, want.User, want.Password, want.PasswordFile = w.Host, w.Port, w.User, w.Password, w.PasswordFile
		want.SystemDatabase, want.SSLMode, want.Parameters = w.SystemDatabase, w.SSLMode, w.Parameters
		if w.DialTimeout != 0 {
			want.DialTimeout = w.DialTimeout
		}
		if !strings.HasPrefix(cfg.Unused, test.unused) || (cfg.Unused == "") != (test.unused == "") {
			t.Errorf("%s: unused are %q", test.set, cfg.Unused)
		}
		if cfg.Unused = ""; cfg != want {
			t.Errorf("%s:\ngot  %+v\nwant %+v", test.set, cfg, want)
		}
	}
}

// As in compose files: DB_PORT=${DB_PORT:-}.
func TestAnEmptyVariableIsLikeOneThatIsNotSet(t *testing.T) {
	empty := make([]string, len(variables))
	for i, name := range variables {
		empty[i] = name + "="
	}
	environment(t, empty...)
	if cfg, err := pools.ConfigFromEnv(); err != nil || cfg != published {
		t.Errorf("%+v %v", cfg, err)
	}
}

func TestEveryVariableIsRead(t *testing.T) {
	environment(t,
		"DB_HOST=db.example", "DB_PORT=6543", "DB_USER=app", "DB_PASSWORD=a=b'c\\ d", "DB_SSLMODE=verify-full",
		"DB_TARGET_SESSION_ATTRS=read-write", "DB_PREFIX=shop", "DB_NAME=shop_system", "DB_WORKSPACE_TABLE=places", "DB_MAX_CONNECTIONS=200", "DB_MAX_CONNECTIONS_PER_DB=7", "DB_SYSTEM_CONNECTIONS=9",
		"DB_CONNECTION_MAX_LIFETIME=1h", "DB_CONNECTION_MAX_LIFETIME_JITTER=2m", "DB_CONNECTION_MAX_IDLE_TIME=90s", "DB_ACQUIRE_TIMEOUT=300ms",
		"DB_LEASE_WARN_AFTER=30s", "DB_LEASE_TRACING=true",
		"DB_MAX_DIALING=9", "DB_DIAL_TIMEOUT=2s", "DB_MAX_WAITERS=11", "DB_MAX_WAITERS_PER_DB=10",
		"DB_PATIENCE=5ms", "DB_BATCH_SHARE=0.5", "DB_HEALTH_CHECK_AFTER=1m", "DB_PARAMETERS=search_path=app",
		"DB_EVICTION=lru2", "DB_PLANNER=on", "DB_AUTO_BUDGET=40..300")
	want := model.Config{
		Host: "db.example", Port: 6543, User: "app", Password: `a=b'c\ d`, SSLMode: "verify-full",
		TargetSessionAttrs: "read-write", Prefix: "shop", SystemDatabase: "shop_system", WorkspaceTable: "places", MaxConnections: 200, MaxConnectionsPerDB: 7, SystemConnections: 9,
		ConnectionMaxLifetime: time.Hour, ConnectionMaxLifetimeJitter: 2 * time.Minute, ConnectionMaxIdleTime: 90 * time.Second, AcquireTimeout: 300 * time.Millisecond,
		LeaseWarnAfter: 30 * time.Second, LeaseTracing: true,
		MaxDialing: 9, DialTimeout: 2 * time.Second, MaxWaiters: 11, MaxWaitersPerDB: 10,
		Patience: 5 * time.Millisecond, BatchShare: 0.5, HealthCheckAfter: time.Minute, Parameters: "search_path=app",
		Eviction: model.LRU2, Planner: "on", AutoBudget: "40..300",
	}
	if cfg, err := pools.ConfigFromEnv(); err != nil || cfg != want {
		t.Errorf("%+v %v", cfg, err)
	}
}

func TestABadValueIsNamedWithItsVariableAndItsRange(t *testing.T) {
	for set, want := range map[string][]string{
		"DB_MAX_CONNECTIONS=2":                    {"from 3 to 10000"},
		"DB_MAX_CONNECTIONS=10001":                {"from 3 to 10000"},
		"DB_MAX_CONNECTIONS=many":                 {`"many"`, "a whole number", "from 3 to 10000"},
		"DB_MAX_CONNECTIONS=50.5":                 {`"50.5"`, "a whole number", "from 3 to 10000"},
		"DB_MAX_CONNECTIONS=99999999999999999999": {"a whole number", "from 3 to 10000"},
		"DB_MAX_CONNECTIONS_PER_DB=0":             {"from 1 to 50"},
		"DB_MAX_CONNECTIONS_PER_DB=51":            {"from 1 to 50"},
		"DB_SYSTEM_CONNECTIONS=1":                 {"0 (the default share), or from 2 to 99", "DB_MAX_CONNECTIONS (100)"},
		"DB_SYSTEM_CONNECTIONS=few":               {`"few"`, "a whole number", "from 2 to 99"},
		"DB_PORT=65536":                           {"from 1 to 65535"},
		"DB_PORT=postgres":                        {`"postgres"`, "a whole number", "from 1 to 65535"},
		"DB_ACQUIRE_TIMEOUT=5":                    {`"5"`, "300ms, 5s or 10m", "0s or more"},
		"DB_ACQUIRE_TIMEOUT=-1s":                  {"0s or more"},
		"DB_CONNECTION_MAX_LIFETIME=10 minutes":   {`"10 minutes"`, "300ms, 5s or 10m", "0 (never) or at least 1s"},
		"DB_CONNECTION_MAX_LIFETIME_JITTER=-1s":   {"0s or more"},
		"DB_CONNECTION_MAX_IDLE_TIME=1d":          {`"1d"`, "300ms, 5s or 10m"},
		"DB_CONNECTION_MAX_IDLE_TIME=1ms":         {"0 (never) or at least 1s"},
		"DB_SSLMODE=perhaps":                      {"disable, allow, prefer, require, verify-ca, verify-full"},
		"DB_PREFIX=a.b":                           {"A-Z a-z 0-9 _ -"},
		"DB_LEASE_WARN_AFTER=1ms":                 {"0 (never) or at least 10ms"},
		"DB_LEASE_TRACING=perhaps":                {`"perhaps"`, "true or false"},
		"DB_MAX_DIALING=-1":                       {"from 1 to 1000"},
		"DB_DIAL_TIMEOUT=1ms":                     {"10ms or more"},
		"DB_MAX_WAITERS=-1":                       {"from 1 to 1000000"},
		"DB_MAX_WAITERS_PER_DB=x":                 {"a whole number", "from 1 to 1000000"},
		"DB_PATIENCE=2m":                          {"to 1m0s"},
		"DB_BATCH_SHARE=-0.1":                     {"more than 0 and at most 1"},
		"DB_BATCH_SHARE=1.01":                     {"more than 0 and at most 1"},
		"DB_BATCH_SHARE=a quarter":                {`"a quarter"`, "a number, as 0.25", "at most 1"},
		"DB_HEALTH_CHECK_AFTER=1us":               {"1ms or more"},
		"DB_EVICTION=fifo":                        {`"fifo"`, "lru, lru2"},
		"DB_PLANNER=maybe":                        {`"maybe"`, "on, off"},
		"DB_AUTO_BUDGET=40":                       {`"40"`, "as 40..95", "from 3 to 10000"},
		"DB_AUTO_BUDGET=95..40":                   {"the lowest and the highest"},
		"DB_AUTO_BUDGET=2..40":                    {"from 3 to 10000"},
		"DB_AUTO_BUDGET=40..95":                   {"DB_MAX_CONNECTIONS (100) lies"},
	} {
		t.Run(set, func(t *testing.T) {
			environment(t, set)
			cfg, err := pools.ConfigFromEnv()
			variable, value, _ := strings.Cut(set, "=")
			var bad *model.ConfigError
			if !errors.As(err, &bad) || bad.Variable != variable || cfg != (model.Config{}) {
				t.Fatalf("%+v %v", cfg, err)
			}
			if value != "1us" { // which Go prints as 1µs
				want = append(want, value)
			}
			for _, word := range append(want, variable+" is ") {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q is missing in: %v", word, err)
				}
			}
		})
	}
}

func TestTheEdgesOfTheRangesAreAccepted(t *testing.T) {
	for _, set := range [][]string{
		{"DB_MAX_CONNECTIONS=20", "DB_MAX_CONNECTIONS_PER_DB=1", "DB_ACQUIRE_TIMEOUT=0", "DB_CONNECTION_MAX_LIFETIME=0", "DB_CONNECTION_MAX_IDLE_TIME=0s"},
		{"DB_MAX_CONNECTIONS=10000", "DB_MAX_CONNECTIONS_PER_DB=50", "DB_PORT=65535"},
	} {
		environment(t, set...)
		if _, err := pools.ConfigFromEnv(); err != nil {
			t.Errorf("%v: %v", set, err)
		}
	}
}

func TestAllBadValuesAreReportedTogether(t *testing.T) {
	environment(t, "DB_PORT=0", "DB_MAX_CONNECTIONS=many", "DB_ACQUIRE_TIMEOUT=5", "DB_MAX_CONNECTIONS_PER_DB=51", "DB_PASSWORD=top-secret-4711")
	_, err := pools.ConfigFromEnv()
	for _, variable := range []string{"DB_PORT", "DB_MAX_CONNECTIONS", "DB_ACQUIRE_TIMEOUT", "DB_MAX_CONNECTIONS_PER_DB"} {
		if err == nil || !strings.Contains(err.Error(), variable+" is ") {
			t.Errorf("%s is missing in: %v", variable, err)
		}
	}
	if lines := strings.Count(fmt.Sprint(err), "\n") + 1; lines != 4 {
		t.Errorf("%d lines: %v", lines, err)
	}
	if strings.Contains(fmt.Sprint(err), "top-secret") {
		t.Error("the password is in the error")
	}
}

// How docker and systemd read the file is a test of cmd/tenantpool.
func TestTheExampleEnvironmentIsTheDefault(t *testing.T) {
	text, err := os.ReadFile("../env.example")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	for _, name := range variables {
		if !strings.Contains("\n"+strings.ReplaceAll(string(text), "\n# ", "\n"), "\n"+name+"=") {
			t.Errorf("%s is missing", name)
		}
	}
	if want := len(variables) - 1; len(lines) != want { // the password stands there, and its file in a comment
		t.Errorf("%d variables, want %d: %q", len(lines), want, lines)
	}
	environment(t, lines...)
	cfg, err := pools.ConfigFromEnv()
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Password == "" {
		t.Error("no password to be changed")
	}
	cfg.Password = ""
	if cfg != model.DefaultConfig() {
		t.Errorf("%+v", cfg)
	}
}
