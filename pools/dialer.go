package pools

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/internal/keywords"
	"github.com/tenantpool/tenantpool/model"
)

// dialer opens the connections of one share (an actor.Dialer).
type dialer struct {
	config *template // its Database is replaced
	// provider is asked whom to log in as; nil: the template says it.
	provider *provider
	// placeOf is where the database of a workspace is.
	placeOf func(context.Context, model.WorkspaceID) (place, error)
	timeout time.Duration
	closer  *closer
	log     *dialLog
	traced  bool // see backend
	// leftovers are those of an earlier run, if there are any.
	leftovers *atomic.Pointer[leftovers]
	// shared is asked whether another connection fits a budget that is shared; nil: it is
	// not.
	shared *sharedBudget
	// failed is told of a database that cannot be dialed.
	failed func(database string)
	// unanswered is told of each dial that was not called off.
	unanswered *unanswered
	hooks      *hooks
	types      *types
	// settingsOf is asked for those of a workspace; nil: there are none.
	settingsOf func(context.Context, model.WorkspaceID) (WorkspaceSettings, error)
	identity   identity

	// mayBeReadOnly: Config.TargetSessionAttrs asks for a server that may be read-only,
	// so becoming read-only is no reason to close a connection.
	mayBeReadOnly bool
	// readWrite: it asks for a server that is not, and the login has seen to that.
	readWrite bool
}

// connConfig turns a Config into pgx's. The passwords are set apart, so that no
// parse error can show them.
//
// pgx also reads libpq's environment variables. Where to connect, as whom, and
// how the session begins is for the Config alone: PGSERVICE, PGPASSWORD,
// PGPASSFILE, PGTARGETSESSIONATTRS, PGOPTIONS, PGTZ and PGCONNECT_TIMEOUT, which
// a developer's shell sets for psql, change nothing here: ConfigFromEnv and ParseConfig
// have asked those that count. What the Config does not say stays: PGAPPNAME, and how the
// network connection is secured (PGSSLROOTCERT, PGSSLCERT, PGSSLKEY and the like).
func connConfig(cfg model.Config) (*pgx.ConnConfig, error) {
	params, err := moreParameters(cfg)
	if err != nil {
		return nil, err
	}
	hosts, ports := cfg.HostsAndPorts()
	// Quoted values: backslash and quote are escaped.
	config, err := pgx.ParseConfigWithOptions(fmt.Sprintf(
		"host='%s' port=%s user='%s' dbname='%s' sslmode=%s target_session_attrs=%s connect_timeout=0 %s",
		keywords.Escape(hosts), ports, keywords.Escape(cfg.User), keywords.Escape(cfg.SystemDatabase), cfg.SSLMode, cfg.TargetSessionAttrs, keywords.Format(params)),
		pgx.ParseConfigOptions{ParseConfigOptions: pgconn.ParseConfigOptions{GetSSLPassword: func(context.Context) string { return cfg.SSLPassword }}})
	if err != nil {
		return nil, fmt.Errorf("connection settings for DB_HOST %q with DB_SSLMODE %q and DB_PARAMETERS (and PG* variables, see PGSERVICE and PGSSL*): %w",
			cfg.Host, cfg.SSLMode, briefly(err))
	}
	config.Password = cfg.Password
	if _, asked := params["statement_cache_capacity"]; !asked {
		config.StatementCacheCapacity = statementCacheCapacity
	}
	config.ValidateConnect = reported(cfg.TargetSessionAttrs, config.ValidateConnect)
	if n := len(cfg.Addresses()); n > 1 {
		config.ConnectTimeout = cfg.DialTimeout / time.Duration(n) // or a silent host would use up the time of the next
	}
	rememberKeys(config)
	config.LookupFunc = (&addresses{lookup: config.LookupFunc}).find
	application := cmp.Or(config.RuntimeParams["application_name"], "tenantpool")
	maps.DeleteFunc(config.RuntimeParams, func(name, _ string) bool { _, asked := params[name]; return !asked })
	config.RuntimeParams["application_name"] = application
	// Go's strings are UTF-8, whatever the database's encoding. Else the server would
	// take it for that.
	config.RuntimeParams["client_encoding"] = clientEncoding
	return config, nil
}

const clientEncoding = "UTF8"

// statementCacheCapacity is how many prepared statements a connection keeps. The server
// process holds a plan for each, and there are as many processes as connections: with pgx's
// 512 they took 33 MB each in BenchmarkStatementCache, with 64 they take 5, and a statement
// that is run again costs one round trip and no parsing in both. See docs/performance.md.
const statementCacheCapacity = 64

// Dial opens a session on the workspace's database and tests it, unless it is
// called off.
func (d *dialer) Dial(calledOff context.Context, id model.WorkspaceID) (actor.Conn, error) {
	if left := d.leftovers.Load().of(id); left != nil {
		return left, nil
	}
	workspace, at, err := d.place(calledOff, id)
	if err != nil {
		return nil, unresolvedFailure(err)
	}
	var as opening
	if workspace == id { // or it is a database that is being created
		if as, err = d.openingAsk(calledOff, id); err != nil {
			return nil, &dialFailure{kind: model.Transient, err: err}
		}
	}
	b, err := d.login(calledOff, workspace, at, as)
	if err == nil {
		d.unanswered.heard(nil)
		d.log.succeeded()
		return b, nil
	}
	failure := newDialFailure(err, b.network.last() != nil)
	if d.provider != nil {
		failure.maybeOutdated()
	}
	if d.shared != nil {
		failure.ofSharedBudget()
	}
	if d.forgetCheckInterval(err) {
		failure.kind = model.Transient // the next dial goes without it
	}
	if calledOff.Err() != nil {
		// The manager closes: this says nothing about the server, and is nobody's
		// concern.
		failure = &dialFailure{kind: model.Transient, err: briefly(err)}
	} else {
		if failure.kind == model.Permanent {
			d.failed(at.database)
		}
		d.unanswered.heard(failure)
		d.log.failed(id, failure)
	}
	if b.overrun != nil {
		return b, failure // a hook still has it
	}
	if conn := b.network.last(); conn == nil || conn.endsCleanlyWithin(0) || b.pgx == nil && within(conn.ended, 0) {
		return nil, failure
	}
	return b, failure // the server may still hold the slot
}

// login returns the backend also with an error, as far as it got. The hooks have times of
// their own; the rest has the dialer's timeout in all.
func (d *dialer) login(calledOff context.Context, id model.WorkspaceID, at place, as opening) (*backend, error) {
	b := &backend{network: &network{}, closer: d.closer, traced: d.traced, workspace: id, place: at, opening: as, managersOwn: id == managersOwn}
	if d.closer.system {
		b.workspace = ""
	}
	b.cancel = &cancelHandler{network: b.network}
	config := d.config.Load().Copy()
	began := time.Now()
	ctx, stop := context.WithTimeout(calledOff, d.timeout)
	login, err := d.provider.logIn(ctx, config)
	stop()
	if err != nil {
		return b, err
	}
	left := d.timeout - time.Since(began)
	config.Database = at.database
	config.DialFunc = (&net.Dialer{}).DialContext
	b.password = config.Password
	as.put(config)
	if err := d.beforeConnect(calledOff, b, config); err != nil {
		return b, err
	}
	b.network.connect, b.network.onError = config.DialFunc, config.OnPgError
	config.DialFunc = b.network.dial
	config.OnPgError = b.network.noteError
	config.BuildContextWatcherHandler = b.cancel.build
	build := config.BuildFrontend
	config.BuildFrontend = func(server io.Reader, to io.Writer) *pgproto3.Frontend {
		return build(&answers{Reader: server, session: b.network.last()}, to)
	}
	ctx, stop = context.WithTimeout(calledOff, left)
	defer stop()
	if d.shared != nil {
		until, err := d.shared.permit(ctx)
		if err != nil {
			return b, err
		}
		ctx, stop = context.WithDeadline(ctx, until)
		defer stop()
	}
	err = b.connect(ctx, config)
	if d.shared.refused(err) && !within(ctx.Done(), fullFor) {
		err = b.connect(ctx, config)
		d.shared.refused(err)
	}
	if err == nil && d.shared != nil {
		err = d.shared.sameServer(ctx, b.pgx)
	}
	if err != nil {
		return b, err
	}
	b.dialedReadOnly, b.mayBeReadOnly = b.readOnly() && !d.readWrite, d.mayBeReadOnly
	d.provider.took(login)
	if b.managersOwn {
		return b, nil
	}
	if err := d.types.register(ctx, b); err != nil {
		return b, err
	}
	if err := d.hooks.afterConnect(calledOff, b); err != nil {
		return b, err
	}
	b.hooks = d.hooks
	return b, nil
}

// connect opens the session and tests it.
func (b *backend) connect(ctx context.Context, config *pgx.ConnConfig) error {
	b.dialed = time.Now()
	conn, err := stdlib.GetConnector(*config).Connect(context.WithValue(ctx, attempt{}, true))
	if err != nil {
		return err
	}
	b.driver = conn.(*stdlib.Conn)
	b.pgx = b.driver.Conn()
	b.welcomed = time.Now()
	return b.identify(ctx)
}

// addresses remembers a host's addresses for a moment, so that hundreds of dials a
// second do not ask the name server each. A host that moves is followed as soon as
// the moment is over. Errors are not remembered.
type addresses struct {
	lookup pgconn.LookupFunc
	// known is by host, and never changed: whoever learns more puts another in its
	// place. A host is one of DB_HOST.
	known atomic.Pointer[map[string]found]
}

type found struct {
	addresses []string
	until     time.Time
}

// addressesFor is how long a host that moved may still be looked for where it was.
const addressesFor = time.Second

// find is a pgconn.LookupFunc.
func (a *addresses) find(ctx context.Context, host string) ([]string, error) {
	known := a.known.Load()
	if known != nil {
		if f, ok := (*known)[host]; ok && time.Now().Before(f.until) {
			return f.addresses, nil
		}
	}
	list, err := a.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	more := map[string]found{}
	if known != nil {
		more = maps.Clone(*known)
	}
	more[host] = found{list, time.Now().Add(addressesFor)}
	a.known.CompareAndSwap(known, &more) // or somebody else has just asked
	return list, nil
}
