package pools

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/caarlos0/env/v11"

	"github.com/tenantpool/tenantpool/model"
)

// ConfigFromEnv reads the configuration from the environment; a variable that is
// not set has its default (see model.DefaultConfig). The error names every
// variable that cannot be read or is out of range.
func ConfigFromEnv() (model.Config, error) {
	cfg := model.DefaultConfig()
	if err := env.Parse(&cfg); err != nil {
		return model.Config{}, fmt.Errorf("configuration: %w", nameVariables(err))
	}
	if err := cfg.Validate(); err != nil {
		return model.Config{}, fmt.Errorf("configuration: %w", err)
	}
	return cfg, nil
}

// nameVariables puts the variables' names in place of the fields'.
func nameVariables(err error) error {
	var all env.AggregateError
	if !errors.As(err, &all) {
		return err
	}
	named := make([]error, 0, len(all.Errors))
	for _, err := range all.Errors {
		var parse env.ParseError
		if errors.As(err, &parse) {
			field, _ := reflect.TypeFor[model.Config]().FieldByName(parse.Name)
			err = fmt.Errorf("%s is not a valid %v: %w", field.Tag.Get("env"), parse.Type, parse.Err)
		}
		named = append(named, err)
	}
	return errors.Join(named...)
}
