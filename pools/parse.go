package pools

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/internal/keywords"
	"github.com/tenantpool/tenantpool/model"
)

// ParseConfig reads a connection string, as a URL or as keywords and values, in libpq's and
// pgx's words. As in libpq, PGHOST, PGUSER, PGPASSWORD and the like have a say in what it
// leaves out; the rest is as in [model.DefaultConfig].
//
// The database becomes Config.SystemDatabase, connect_timeout (which is for each host)
// Config.DialTimeout, and of pgxpool's words pool_max_conns is MaxConnections,
// pool_max_conn_lifetime ConnectionMaxLifetime, pool_max_conn_lifetime_jitter
// ConnectionMaxLifetimeJitter and pool_max_conn_idle_time ConnectionMaxIdleTime. Those
// that have no meaning here are named in Config.Unused. What has no field of its own is in
// Config.Parameters. A service is not supported.
//
// The error says what is wrong, and no value of the string: it may hold a password that
// is out of place.
func ParseConfig(connString string) (model.Config, error) {
	cfg, err := parseConfig(connString)
	if err == nil {
		err = cfg.Validate()
	}
	if err == nil {
		_, err = connConfig(cfg)
	}
	if err != nil {
		return model.Config{}, fmt.Errorf("connection string: %w", err)
	}
	return cfg, nil
}

func parseConfig(connString string) (model.Config, error) {
	cfg := model.DefaultConfig()
	parsed, err := pgx.ParseConfig(connString)
	if err != nil {
		return cfg, withoutString(err)
	}
	set, err := settings(connString)
	if err != nil {
		return cfg, err
	}
	if set["service"] != "" || os.Getenv("PGSERVICE") != "" {
		return cfg, errors.New("service (PGSERVICE) is not supported: write out what the service's file says")
	}
	if err := setHosts(&cfg, parsed); err != nil {
		return cfg, err
	}
	cfg.User, cfg.Password = parsed.User, parsed.Password
	cfg.SystemDatabase = cmp.Or(parsed.Database, parsed.User)
	cfg.SSLMode = cmp.Or(set["sslmode"], os.Getenv("PGSSLMODE"), "prefer")
	cfg.SSLPassword = set["sslpassword"]
	cfg.TargetSessionAttrs = cmp.Or(set["target_session_attrs"], os.Getenv("PGTARGETSESSIONATTRS"), "any")
	if parsed.ConnectTimeout > 0 {
		cfg.DialTimeout = parsed.ConnectTimeout * time.Duration(len(cfg.Addresses()))
	}
	if err := setPool(&cfg, set); err != nil {
		return cfg, err
	}
	for _, name := range []string{"timezone", "options"} { // of PGTZ and PGOPTIONS
		if value, ok := parsed.RuntimeParams[name]; ok {
			set[name] = value
		}
	}
	for name := range set {
		if _, own := ownParameters[name]; own {
			delete(set, name)
		}
	}
	cfg.Parameters = keywords.Format(set)
	return cfg, nil
}

// ownParameters are those that have a field of their own in Config, or none, and which.
var ownParameters = map[string]string{
	"host": "DB_HOST", "hostaddr": "DB_HOST", "port": "DB_PORT", "user": "DB_USER", "password": "DB_PASSWORD", "passfile": "DB_PASSWORD_FILE",
	"database": "DB_NAME", "dbname": "DB_NAME", "sslmode": "DB_SSLMODE", "ssl": "DB_SSLMODE", "sslpassword": "Config.SSLPassword",
	"target_session_attrs": "DB_TARGET_SESSION_ATTRS", "connect_timeout": "DB_DIAL_TIMEOUT",
	"service": "DB_HOST and the others", "servicefile": "DB_HOST and the others",
	"client_encoding": "nothing: it is always UTF8",
}

// setHosts puts what pgx understood into the Config's words.
func setHosts(cfg *model.Config, parsed *pgx.ConnConfig) error {
	list := []model.Address{{Host: parsed.Host, Port: int(parsed.Port)}}
	for _, f := range parsed.Fallbacks {
		a := model.Address{Host: f.Host, Port: int(f.Port)}
		if a != list[len(list)-1] { // or it is the same host without TLS
			list = append(list, a)
		}
	}
	cfg.Port = list[0].Port
	onePort := !slices.ContainsFunc(list, func(a model.Address) bool { return a.Port != cfg.Port })
	var hosts []string
	for _, a := range list {
		host := a.Host
		if strings.Contains(host, ":") && !strings.ContainsAny(host, `/\`) {
			host = "[" + host + "]"
		}
		if !onePort {
			host += ":" + strconv.Itoa(a.Port)
		}
		hosts = append(hosts, host)
	}
	cfg.Host = strings.Join(hosts, ",")
	if !slices.Equal(cfg.Addresses(), list) {
		return errors.New("its hosts cannot be told apart: several Unix sockets must have the same port")
	}
	return nil
}

// unusedParameters are pgxpool's and libpq's words that mean nothing to a Manager, and why.
var unusedParameters = map[string]string{
	"pool_min_conns":            noneKept,
	"pool_min_idle_conns":       noneKept,
	"pool_health_check_period":  "a connection is tested when it is lent (DB_HEALTH_CHECK_AFTER)",
	"keepalives":                keptAlive,
	"keepalives_idle":           keptAlive,
	"keepalives_interval":       keptAlive,
	"keepalives_count":          keptAlive,
	"tcp_user_timeout":          keptAlive,
	"gssencmode":                "GSSAPI is not used for encryption",
	"load_balance_hosts":        "hosts are tried in their order",
	"fallback_application_name": "application_name is what is used",
	"client_encoding":           "it is always UTF8",
}

const (
	noneKept  = "no connection is kept for a workspace that nobody uses"
	keptAlive = "Go's own keep-alive is used"
)

// refusedParameters are libpq's words whose meaning would be missed: they say whom to trust
// or where to go.
var refusedParameters = []string{"hostaddr", "sslcrl", "sslcrldir", "ssl_min_protocol_version", "ssl_max_protocol_version", "requirepeer", "replication", "scram_client_key", "scram_server_key", "oauth_issuer", "oauth_client_id", "oauth_client_secret", "oauth_scope"}

// setPool takes pgxpool's words, and those without a meaning, out of the settings.
func setPool(cfg *model.Config, set map[string]string) error {
	var unused []string
	for _, name := range slices.Sorted(maps.Keys(set)) {
		var err error
		switch why, known := unusedParameters[name]; {
		case name == "pool_max_conns":
			if cfg.MaxConnections, err = strconv.Atoi(set[name]); err != nil {
				err = errors.New("pool_max_conns must be a whole number")
			}
		case name == "pool_max_conn_lifetime":
			err = setDuration(&cfg.ConnectionMaxLifetime, name, set[name])
		case name == "pool_max_conn_lifetime_jitter":
			err = setDuration(&cfg.ConnectionMaxLifetimeJitter, name, set[name])
		case name == "pool_max_conn_idle_time":
			err = setDuration(&cfg.ConnectionMaxIdleTime, name, set[name])
		case known:
			unused = append(unused, name+": "+why)
		case slices.Contains(refusedParameters, name):
			err = fmt.Errorf("%s is not supported", name)
		case strings.HasPrefix(name, "pool_"):
			err = errors.New("it has a word that begins with pool_ and is none of pgxpool's")
		default:
			continue
		}
		if err != nil {
			return err
		}
		delete(set, name)
	}
	cfg.Unused = strings.Join(unused, "; ")
	return nil
}

func setDuration(into *time.Duration, name, value string) (err error) {
	if *into, err = time.ParseDuration(value); err != nil {
		return fmt.Errorf("%s must be a duration with its unit, as 300ms, 5s or 10m", name)
	}
	return nil
}

// settings are the parameters that a connection string names. pgx has read it already, so
// what is wrong with it has been said; it keeps most values for itself.
func settings(connString string) (map[string]string, error) {
	if !strings.HasPrefix(connString, "postgres://") && !strings.HasPrefix(connString, "postgresql://") {
		return keywords.Parse(connString)
	}
	set := make(map[string]string)
	_, query, _ := strings.Cut(connString, "?")
	query, _, _ = strings.Cut(query, "#")
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, errors.New("what follows the ? cannot be read: escape &, = and % in values")
	}
	for name, all := range values {
		set[name] = all[len(all)-1]
	}
	if set["ssl"] == "true" && set["sslmode"] == "" {
		set["sslmode"] = "require"
	}
	return set, nil
}

// moreParameters are Config.Parameters, taken apart.
func moreParameters(cfg model.Config) (map[string]string, error) {
	set, err := keywords.Parse(cfg.Parameters)
	if err != nil || strings.ContainsRune(cfg.Parameters, 0) {
		return nil, &model.ConfigError{Variable: "DB_PARAMETERS", Value: "not usable", Want: "name=value pairs with spaces between them, and a value with spaces in single quotes"}
	}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if instead, own := ownParameters[name]; own {
			return nil, &model.ConfigError{Variable: "DB_PARAMETERS", Value: "about " + name, Want: "without it: use " + instead}
		}
		if strings.HasPrefix(name, "pool_") {
			return nil, &model.ConfigError{Variable: "DB_PARAMETERS", Value: "about " + name, Want: "without it: the pool has variables of its own"}
		}
	}
	return set, nil
}

// withoutString is what pgx says about a connection string, without what it repeats of it.
func withoutString(err error) error {
	_, said, _ := strings.Cut(err.Error(), "`: ")
	for _, known := range []struct{ begins, says string }{
		{"failed to parse as URL", "it cannot be read as a URL: escape what is not a letter or digit in the user, the password and values, as %40 for @"},
		{"failed to parse as keyword/value", keywords.ErrForm.Error()},
		{"invalid port", "a port must be a number from 1 to 65535; in a password of a URL escape : and @, as %3A and %40"},
		{"could not match", "there must be one port, or one for each host"},
		{"invalid connect_timeout", "connect_timeout must be a whole number of seconds"},
		{"unknown target_session_attrs", "target_session_attrs must be one of any, read-write, read-only, primary, standby, prefer-standby"},
		{"unknown channel_binding", "channel_binding must be one of disable, prefer, require"},
		{"invalid sslcertmode", "sslcertmode must be one of disable, allow, require"},
		{"failed to read service", "service (PGSERVICE) is not supported: write out what the service's file says"},
		{"invalid default_query_exec_mode", "default_query_exec_mode must be one of cache_statement, cache_describe, describe_exec, exec, simple_protocol"},
		{"cannot parse statement_cache_capacity", "statement_cache_capacity must be a whole number"},
		{"cannot parse description_cache_capacity", "description_cache_capacity must be a whole number"},
		{"failed to configure TLS", "TLS cannot be configured: check sslmode, sslnegotiation and sslsni, and that the files of sslrootcert, sslcert and sslkey can be read"},
	} {
		if strings.HasPrefix(said, known.begins) {
			return errors.New(known.says)
		}
	}
	return errors.New("it is not one that pgx can read: see docs/configuration.md")
}
