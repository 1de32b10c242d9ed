package work

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenantpool/tenantpool/internal/keywords"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/secret"
)

// Command is run by sh, with the way to the workspace's database in its environment. It
// opens its connections itself; exec has none to the workspace meanwhile.
type Command struct {
	Line   string
	Config model.Config
	// Naming is the manager's.
	Naming pools.Naming
}

// Sum names the command by its hash: it may hold a secret.
func (c Command) Sum() string { return sum("command", c.Line) }

func (Command) fits(server) error { return nil }

// endsWithin is how long a command has to end that was told to.
const endsWithin = 5 * time.Second

func (c Command) do(ctx context.Context, r *run, w *pools.Workspace) Result {
	// The database is there, and its connection gone again before the command's.
	err := w.Ping(ctx)
	if err == nil {
		_, err = r.manager.Evict(ctx, w.ID())
	}
	var environment []string
	if err == nil {
		environment, err = c.environment(w.ID())
	}
	if err != nil {
		return r.ended(w.ID(), Failed, 1, err)
	}
	if err := r.note(entry{Workspace: w.ID(), State: Begun}); err != nil {
		return Result{State: Failed, Error: err.Error()}
	}
	var output tail
	cmd := exec.CommandContext(ctx, "sh", "-c", c.Line)
	cmd.Env = environment
	cmd.Stdout, cmd.Stderr = &output, &output
	inOwnGroup(cmd)
	cmd.WaitDelay = endsWithin
	err = cmd.Run()
	state := Failed
	switch {
	case err == nil:
		state = Done
	case ctx.Err() != nil:
		state, err = Uncertain, fmt.Errorf("the command was ended: %w", context.Cause(ctx))
	case errors.Is(err, exec.ErrWaitDelay): // it succeeded, and left something behind that writes
		state, err = Done, nil
	default:
		err = fmt.Errorf("the command failed: %w", err)
	}
	result := r.ended(w.ID(), state, 1, err)
	result.Output = output.String()
	return result
}

// environment is ours without what is about our own connections, and with what PostgreSQL's
// clients and most migration tools read.
func (c Command) environment(id model.WorkspaceID) ([]string, error) {
	database, err := c.Naming(id)
	if err != nil {
		return nil, err
	}
	cfg := c.Config
	if cfg.PasswordFile != "" { // read for each command, as by each dial
		if cfg.Password, err = secret.FromFile(cfg.PasswordFile); err != nil {
			return nil, fmt.Errorf("DB_PASSWORD_FILE: %w", err)
		}
	}
	parameters, err := keywords.Parse(cfg.Parameters)
	if err != nil {
		return nil, fmt.Errorf("DB_PARAMETERS: %w", err)
	}
	all := map[string]string{}
	for _, variable := range os.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		switch name {
		case "DB_PASSWORD", "DB_PASSWORD_FILE", "PGSERVICE", "PGSERVICEFILE", "PGPASSFILE", "PGHOSTADDR", "PGOPTIONS":
		default:
			all[name] = value
		}
	}
	hosts, ports := cfg.HostsAndPorts()
	maps.Copy(all, map[string]string{
		"PGHOST": hosts, "PGPORT": ports,
		"PGUSER": cfg.User, "PGPASSWORD": cfg.Password, "PGDATABASE": database, "PGSSLMODE": cfg.SSLMode,
		"PGTARGETSESSIONATTRS": cfg.TargetSessionAttrs,
		"DATABASE_URL":         databaseURL(cfg, database, parameters), "TENANTPOOL_WORKSPACE": string(id),
	})
	for name, variable := range securityVariables {
		if value, set := parameters[name]; set {
			all[variable] = value
		}
	}
	var environment []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		environment = append(environment, name+"="+all[name])
	}
	return environment, nil
}

// securityVariables are libpq's for what DB_PARAMETERS may say of how a connection is secured.
// What a session begins with is not among them: a command chooses that.
var securityVariables = map[string]string{
	"sslrootcert": "PGSSLROOTCERT", "sslcert": "PGSSLCERT", "sslkey": "PGSSLKEY", "sslcertmode": "PGSSLCERTMODE",
	"sslsni": "PGSSLSNI", "sslnegotiation": "PGSSLNEGOTIATION", "channel_binding": "PGCHANNELBINDING", "require_auth": "PGREQUIREAUTH",
}

// databaseURL is libpq's form: a socket's folder and several hosts go into the query, which
// all of its readers know, as do TLS's files of the parameters.
func databaseURL(cfg model.Config, database string, parameters map[string]string) string {
	query := url.Values{"sslmode": {cfg.SSLMode}}
	for _, name := range []string{"sslrootcert", "sslcert", "sslkey"} {
		if value, set := parameters[name]; set {
			query.Set(name, value)
		}
	}
	u := url.URL{Scheme: "postgres", User: url.UserPassword(cfg.User, cfg.Password), Path: "/" + database}
	if cfg.Password == "" {
		u.User = url.User(cfg.User)
	}
	addresses := cfg.Addresses()
	if len(addresses) == 1 && !strings.HasPrefix(addresses[0].Host, "/") {
		u.Host = net.JoinHostPort(addresses[0].Host, strconv.Itoa(addresses[0].Port))
	} else {
		hosts, ports := cfg.HostsAndPorts()
		query.Set("host", hosts)
		query.Set("port", ports)
	}
	if cfg.TargetSessionAttrs != "" && cfg.TargetSessionAttrs != "any" {
		query.Set("target_session_attrs", cfg.TargetSessionAttrs)
	}
	u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20") // libpq takes a + for itself
	return u.String()
}

// tail keeps the end of what is written to it.
type tail struct{ kept []byte }

// tailAtMost is enough for an error and what led to it.
const tailAtMost = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if extra := len(t.kept) - tailAtMost; extra > 0 {
		t.kept = slices.Clone(t.kept[extra:])
	}
	return len(p), nil
}

func (t *tail) String() string { return strings.ToValidUTF8(string(t.kept), "?") }
