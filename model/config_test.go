package model_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

func TestMaxConnectionsForIsTheLeastThatLeavesTheWorkspacesSoMany(t *testing.T) {
	for _, cfg := range []model.Config{{}, {SystemConnections: 7}, {SharedBudget: "shop"}} {
		for _, slots := range []int{1, 2, 9, 15, 54, 90, 180, 9_000} {
			cfg.MaxConnections = cfg.MaxConnectionsFor(slots)
			if got := cfg.WorkspaceBudget(); got < slots {
				t.Errorf("%+v: %d of %d are the workspaces', not %d", cfg, got, cfg.MaxConnections, slots)
			}
			if cfg.MaxConnections--; cfg.WorkspaceBudget() >= slots {
				t.Errorf("%+v: %d has %d slots, too", cfg, cfg.MaxConnections, slots)
			}
		}
	}
}

func TestTheSystemShareIsATenthFromFiveToTwentyAndAQuarterOfFew(t *testing.T) {
	for _, c := range []struct{ most, system, workspaces int }{
		{3, 2, 1}, {4, 2, 2}, {5, 2, 3}, {11, 2, 9}, {12, 3, 9}, {16, 4, 12}, {19, 4, 15}, {20, 5, 15}, {40, 5, 35}, {59, 5, 54}, {60, 6, 54}, {99, 9, 90}, {100, 10, 90},
		{199, 19, 180}, {200, 20, 180}, {201, 20, 181}, {10_000, 20, 9_980},
	} {
		cfg := model.DefaultConfig()
		cfg.MaxConnections = c.most
		if cfg.SystemShare() != c.system || cfg.WorkspaceBudget() != c.workspaces {
			t.Errorf("of %d: %d and %d, want %d and %d", c.most, cfg.SystemShare(), cfg.WorkspaceBudget(), c.system, c.workspaces)
		}
		w, s := cfg.WorkspaceLimits(), cfg.SystemLimits()
		if w.Budget != c.workspaces || w.PerWorkspace != min(3, c.workspaces) || s.Budget != c.system || s.PerWorkspace != c.system-1 {
			t.Errorf("of %d: limits %+v and %+v", c.most, w, s)
		}
	}
}

func TestTheSystemShareMayBeChosen(t *testing.T) {
	cfg := model.DefaultConfig()
	for _, c := range []struct {
		most, system int
		wrong        string
	}{
		{12, 2, ""}, {12, 11, ""}, {100, 0, ""}, {100, 50, ""},
		{12, 1, "DB_SYSTEM_CONNECTIONS is 1: it must be 0 (the default share), or from 2 to 11, so that DB_MAX_CONNECTIONS (12) leaves the workspaces one"},
		{12, 12, "DB_SYSTEM_CONNECTIONS is 12: it must be 0 (the default share), or from 2 to 11,"},
		{12, -1, "DB_SYSTEM_CONNECTIONS is -1"},
		{2, 2, "DB_MAX_CONNECTIONS is 2: it must be from 3"},
	} {
		cfg.MaxConnections, cfg.SystemConnections = c.most, c.system
		err := cfg.Validate()
		if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%d of %d: %v", c.system, c.most, err)
		}
		if c.wrong == "" && c.system != 0 && (cfg.SystemLimits().Budget != c.system || cfg.WorkspaceLimits().Budget != c.most-c.system) {
			t.Errorf("%d of %d: %+v", c.system, c.most, cfg.SystemLimits())
		}
	}
}

func TestTheCapIsNeverAboveTheBudget(t *testing.T) {
	cfg := model.DefaultConfig()
	cfg.MaxConnections, cfg.MaxConnectionsPerDB = 20, 50
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
	if n := cfg.WorkspaceLimits().PerWorkspace; n != 15 {
		t.Errorf("the cap is %d", n)
	}
}

func TestBothSharesEndConnectionsAsTheConfigSays(t *testing.T) {
	cfg := model.DefaultConfig()
	cfg.ConnectionMaxLifetime, cfg.ConnectionMaxLifetimeJitter, cfg.ConnectionMaxIdleTime = time.Hour, time.Minute, time.Second
	for _, l := range []model.Limits{cfg.WorkspaceLimits(), cfg.SystemLimits()} {
		if l.MaxLifetime != time.Hour || l.LifetimeJitter != time.Minute || l.MaxIdleTime != time.Second {
			t.Errorf("%+v", l)
		}
	}
}

func TestZeroMeansTheDefaultWhereItSaysSo(t *testing.T) {
	cfg := model.DefaultConfig()
	cfg.MaxDialing, cfg.DialTimeout, cfg.MaxWaiters, cfg.MaxWaitersPerDB, cfg.Patience, cfg.BatchShare, cfg.HealthCheckAfter = 0, 0, 0, 0, 0, 0, 0
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
	if cfg.WithDefaults() != model.DefaultConfig() {
		t.Errorf("%+v", cfg.WithDefaults())
	}
	cfg = model.DefaultConfig()
	cfg.ConnectionMaxLifetime, cfg.ConnectionMaxIdleTime, cfg.AcquireTimeout = 0, 0, 0
	if got := cfg.WithDefaults(); got != cfg || got.Validate() != nil {
		t.Errorf("zero is a value of its own there: %+v", got)
	}
}

// libpq and pgx take an empty host for the one of this machine.
func TestAListOfHostsHasNoEmptyOne(t *testing.T) {
	for host, good := range map[string]bool{
		"a": true, "a,b": true, "/run/postgresql": true, "::1": true, ",": false, "a,": false, ",a": false, "a,,b": false,
		":5432": false, "a:": false, "a:0": false, "a:65536": false, "a:b": false, "a:5432,b": true, "[::1]:x": false, "[]": false,
		"a]:2": false, "[a": false, "[a]b:1": false, "[[::1]]:2": false, "/run/[x]": true,
	} {
		cfg := model.DefaultConfig()
		cfg.Host = host
		if err := cfg.Validate(); (err == nil) != good || err != nil && !strings.Contains(err.Error(), "DB_HOST is ") {
			t.Errorf("%q: %v", host, err)
		}
	}
}

func TestAHostMayHaveAPortOfItsOwn(t *testing.T) {
	cfg := model.DefaultConfig()
	cfg.Host, cfg.Port = "a,b:1,::1,[::1]:2,/run/x:3,[fe80::1]", 5432
	want := []model.Address{{"a", 5432}, {"b", 1}, {"::1", 5432}, {"::1", 2}, {"/run/x:3", 5432}, {"fe80::1", 5432}}
	if got := cfg.Addresses(); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

func TestABadConfigIsReportedInFull(t *testing.T) {
	bad := model.DefaultConfig()
	bad.Host, bad.Port, bad.User, bad.SSLMode, bad.TargetSessionAttrs = "", 0, "a\x00b", "perhaps", "master"
	bad.Prefix, bad.SystemDatabase = strings.Repeat("p", 59), ""
	bad.MaxConnections, bad.MaxConnectionsPerDB, bad.SoftMaxConnectionsPerDB = 2, 51, 52
	bad.ConnectionMaxLifetime, bad.AcquireTimeout, bad.Patience = time.Millisecond, -1, 2*time.Minute
	err := bad.Validate()
	for _, want := range []string{
		"DB_HOST is empty", "DB_PORT is 0", "DB_USER is not usable", `DB_SSLMODE is "perhaps"`, `DB_TARGET_SESSION_ATTRS is "master"`, "DB_PREFIX is ", "DB_NAME is empty",
		"DB_MAX_CONNECTIONS is 2: it must be from 3 to 10000", "DB_MAX_CONNECTIONS_PER_DB is 51: it must be from 1 to 50",
		"DB_SOFT_MAX_CONNECTIONS_PER_DB is 52: it must be from 0 to 51",
		"DB_CONNECTION_MAX_LIFETIME is 1ms", "DB_ACQUIRE_TIMEOUT is -1ns", "DB_PATIENCE is 2m0s",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
	var one *model.ConfigError
	if !errors.As(err, &one) || one.Variable != "DB_HOST" {
		t.Errorf("%+v", one)
	}
}

func TestTheLongestPrefixLeavesRoomForAnID(t *testing.T) {
	cfg := model.DefaultConfig()
	cfg.Prefix = strings.Repeat("p", 58)
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
}

func TestAConfigIsNeverPrintedWithItsPassword(t *testing.T) {
	cfg := model.DefaultConfig()
	cfg.Password = "top-secret-4711"
	printed := func(v any) (texts []string) {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
			texts = append(texts, fmt.Sprintf(verb, v))
		}
		data, err := json.Marshal(v)
		if err != nil {
			t.Error(err)
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
		return append(texts, string(data), log.String())
	}
	hexed := fmt.Sprintf("%x", cfg.Password)
	for _, v := range []any{cfg, &cfg, []model.Config{cfg}, map[string]*model.Config{"db": &cfg}, struct{ DB model.Config }{cfg}} {
		for _, text := range printed(v) {
			if strings.Contains(text, cfg.Password) || strings.Contains(strings.ToLower(text), hexed) {
				t.Errorf("the password is in %s", text)
			}
		}
	}
	if text := fmt.Sprintf("%+v", cfg); !strings.Contains(text, "Host:localhost") || !strings.Contains(text, "[hidden]") {
		t.Errorf("printed as %s", text)
	}
	if cfg.Password != "top-secret-4711" {
		t.Error("printing changed it")
	}
	bad := cfg
	bad.Password = "top-secret-4711\x00"
	if err := bad.Validate(); err == nil || strings.Contains(err.Error(), "top-secret") {
		t.Errorf("%v", err)
	}
}
