package pools

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"time"

	"github.com/caarlos0/env/v11"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools/secret"
)

// ConfigFromEnv reads the configuration from the environment. A variable that is
// not set, or is empty, has its default (see model.DefaultConfig). The error
// joins a *model.ConfigError for each variable that cannot be read or is out of
// range.
//
// In place of DB_PASSWORD, DB_PASSWORD_FILE may name a file that holds it, which each dial
// reads (see Config.PasswordFile); a line's end there is no part of it. Both are an error.
func ConfigFromEnv() (model.Config, error) {
	cfg := model.DefaultConfig()
	unreadable, err := parseEnv(&cfg)
	if err != nil {
		return model.Config{}, fmt.Errorf("configuration: %w", err)
	}
	var noPassword error
	if cfg.PasswordFile != "" && cfg.Password == "" {
		if _, err := secret.FromFile(cfg.PasswordFile); err != nil {
			noPassword = fmt.Errorf("DB_PASSWORD_FILE: %w", err)
		}
	}
	invalid := cfg.Validate()
	explain(invalid, unreadable)
	if err := errors.Join(invalid, notBool(unreadable), noPassword); err != nil {
		return model.Config{}, fmt.Errorf("configuration: %w", err)
	}
	return cfg, nil
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
