package pools

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"github.com/tenantpool/tenantpool/internal/keywords"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools/secret"
)

// ConfigFromEnv reads the configuration from the environment. A variable that is
// not set, or is empty, has its default (see model.DefaultConfig). The error
// joins a *model.ConfigError for each variable that cannot be read or is out of
// range.
//
// Where to connect, and as whom, is said by the first of these that is there: DB_HOST,
// DB_PORT or DB_USER; DATABASE_URL, as [ParseConfig] reads it; libpq's PGHOST, PGPORT,
// PGUSER, PGPASSWORD, PGDATABASE and the like; the defaults. A later source is not looked
// at, so that a password which a shell sets for psql goes to no other server. All other
// DB_ variables go with any source. What is set and has no effect is named in Config.Unused.
//
// In place of DB_PASSWORD, DB_PASSWORD_FILE may name a file that holds it, which each dial
// reads (see Config.PasswordFile); a line's end there is no part of it. Both are an error.
func ConfigFromEnv() (model.Config, error) {
	cfg, err := whereFromEnv()
	if err != nil {
		return model.Config{}, fmt.Errorf("configuration: %w", err)
	}
	unreadable, err := parseEnv(&cfg)
	if err != nil {
		return model.Config{}, fmt.Errorf("configuration: %w", err)
	}
	var noPassword error
	if cfg.PasswordFile != "" && os.Getenv("DB_PASSWORD") == "" {
		cfg.Password = "" // of DATABASE_URL
		if _, err := secret.FromFile(cfg.PasswordFile); err != nil {
			noPassword = fmt.Errorf("DB_PASSWORD_FILE: %w", err)
		}
	}
	invalid := cfg.Validate()
	explain(invalid, unreadable)
	if _, err := moreParameters(cfg); err != nil {
		invalid = errors.Join(invalid, err)
	}
	if err := errors.Join(invalid, notBool(unreadable), noPassword); err != nil {
		return model.Config{}, fmt.Errorf("configuration: %w", err)
	}
	return cfg, nil
}

// whereVariables decide that DB_ variables say where to connect.
var whereVariables = []string{"DB_HOST", "DB_PORT", "DB_USER"}

// libpqVariables say where to connect, as whom, and how sessions begin. Those about the
// network's security are pgx's own affair, whatever the source.
var libpqVariables = []string{"PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGPASSFILE", "PGDATABASE", "PGSSLMODE",
	"PGTARGETSESSIONATTRS", "PGCONNECT_TIMEOUT", "PGOPTIONS", "PGTZ", "PGSERVICE"}

// whereFromEnv is the Config of the source that says where to connect.
func whereFromEnv() (cfg model.Config, err error) {
	isSet := func(name string) bool { return os.Getenv(name) != "" }
	var unused []string
	leave := func(names []string, why string) {
		for _, name := range names {
			if isSet(name) {
				unused = append(unused, name+": "+why)
			}
		}
	}
	switch {
	case slices.ContainsFunc(whereVariables, isSet):
		cfg = model.DefaultConfig()
		leave(append([]string{"DATABASE_URL"}, libpqVariables...), "DB_HOST, DB_PORT or DB_USER says where to connect")
	case isSet("DATABASE_URL"):
		if cfg, err = parseConfig(os.Getenv("DATABASE_URL")); err != nil {
			return cfg, fmt.Errorf("DATABASE_URL: %w", err)
		}
	case slices.ContainsFunc(libpqVariables, isSet):
		if cfg, err = parseConfig(libpqDefaults(isSet)); err != nil {
			return cfg, fmt.Errorf("libpq's PG variables: %w", err)
		}
	default:
		cfg = model.DefaultConfig()
	}
	known := []string{}
	fields := reflect.TypeFor[model.Config]()
	for i := range fields.NumField() {
		known = append(known, fields.Field(i).Tag.Get("env"))
	}
	var others []string
	for _, line := range os.Environ() {
		if name, _, _ := strings.Cut(line, "="); strings.HasPrefix(name, "DB_") && !slices.Contains(known, name) {
			others = append(others, name)
		}
	}
	slices.Sort(others)
	leave(others, "there is no such variable")
	if cfg.Unused != "" {
		unused = append([]string{cfg.Unused}, unused...)
	}
	cfg.Unused = strings.Join(unused, "; ")
	return cfg, nil
}

// libpqDefaults are our defaults for what libpq would take from the system's user.
func libpqDefaults(isSet func(string) bool) string {
	d := model.DefaultConfig()
	set := map[string]string{}
	for variable, parameter := range map[string][2]string{"PGHOST": {"host", d.Host}, "PGUSER": {"user", d.User}, "PGDATABASE": {"dbname", d.SystemDatabase}} {
		if !isSet(variable) {
			set[parameter[0]] = parameter[1]
		}
	}
	return keywords.Format(set)
}

// parseEnv returns the variables that are not what their field is, with what
// they should be. Their fields have a value that Validate refuses, so that it
// tells the range of all bad variables together; of a bool there is no such value.
func parseEnv(cfg *model.Config) (unreadable map[string]string, err error) {
	var all env.AggregateError
	if err := env.Parse(cfg); err == nil || !errors.As(err, &all) {
		return nil, err
	}
	unreadable = make(map[string]string)
	fields := reflect.ValueOf(cfg).Elem()
	for _, err := range all.Errors {
		var parse env.ParseError
		if !errors.As(err, &parse) {
			return nil, err
		}
		field, _ := fields.Type().FieldByName(parse.Name)
		want := "a whole number"
		bad := fields.FieldByIndex(field.Index)
		switch field.Type {
		case reflect.TypeFor[bool]():
			unreadable[field.Tag.Get("env")] = wantBool
			continue
		case reflect.TypeFor[time.Duration]():
			want = "a duration with its unit, as 300ms, 5s or 10m"
		case reflect.TypeFor[float64]():
			want = "a number, as 0.25"
		}
		if bad.CanFloat() {
			bad.SetFloat(-1)
		} else {
			bad.SetInt(-1) // those of text are always readable
		}
		unreadable[field.Tag.Get("env")] = want
	}
	return unreadable, nil
}

const wantBool = "true or false"

// notBool is the error of the variables that should be a bool.
func notBool(unreadable map[string]string) error {
	var all []error
	for _, variable := range slices.Sorted(maps.Keys(unreadable)) {
		if unreadable[variable] == wantBool {
			all = append(all, &model.ConfigError{Variable: variable, Value: fmt.Sprintf("%q", os.Getenv(variable)), Want: wantBool})
		}
	}
	return errors.Join(all...)
}

// explain puts into Validate's errors what the unreadable variables are.
func explain(err error, unreadable map[string]string) {
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return
	}
	for _, err := range joined.Unwrap() {
		var bad *model.ConfigError
		if !errors.As(err, &bad) {
			continue
		}
		if want, ok := unreadable[bad.Variable]; ok {
			bad.Value = fmt.Sprintf("%q", os.Getenv(bad.Variable))
			bad.Want = want + ", " + bad.Want
		}
	}
}
