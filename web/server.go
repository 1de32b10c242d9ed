package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/tenantpool/tenantpool/model"
)

// Options change how New makes a Server. Only Keys must be given.
type Options struct {
	// Keys are the keys whose tokens are accepted; at least one.
	Keys []PublicKey
	// Issuer and Audience are what the tokens must say; empty: DefaultIssuer and
	// DefaultAudience.
	Issuer, Audience string
	// MaxTokenTTL is how long a token may be good in all, from MinTTL to MaxTTL; one
	// that is good for longer is refused from the start. 0: DefaultMaxTokenTTL.
	MaxTokenTTL time.Duration
	// Revocations are tokens that are refused before they expire; nil: none.
	Revocations *Revocations
	// Log gets the access log, the audit log and what goes wrong. nil: JSON lines
	// on standard error.
	Log *slog.Logger
	// MetricsToken is accepted at /metrics besides viewers' tokens. Empty: none;
	// else at least MinMetricsToken bytes.
	MetricsToken string
	// WorkspaceMetrics adds series for the 100 busiest workspaces to the metrics, and
	// for all others together.
	WorkspaceMetrics bool
	// Door is the state of the process's door for PostgreSQL's clients; nil: it has none.
	Door func() model.DoorStats
	// Query bounds workspace.query.
	Query QueryLimits
	// Streams is how many event streams may be open at once (0: 100), StreamsPerSubject
	// how many of one subject (0: 20, or Streams if that is less).
	Streams, StreamsPerSubject int
	// ShutdownDelay is how long Serve goes on as before once it is to end, except that
	// /readyz says 503: so long a balancer may take to notice (0: it does not wait).
	ShutdownDelay time.Duration
	// ShutdownTimeout is how long Serve lets requests end after that (0: a little
	// longer than a query may take).
	ShutdownTimeout time.Duration
}

// withDefaults has what Options and QueryLimits say of zero values.
func (o Options) withDefaults() Options {
	o.Issuer = cmp.Or(o.Issuer, DefaultIssuer)
	o.Audience = cmp.Or(o.Audience, DefaultAudience)
	o.MaxTokenTTL = cmp.Or(o.MaxTokenTTL, DefaultMaxTokenTTL)
	if o.Log == nil {
		o.Log = jsonLines(os.Stderr, slog.LevelInfo)
	}
	q := &o.Query
	q.Timeout = cmp.Or(q.Timeout, 30*time.Second)
	q.MaxRows = cmp.Or(q.MaxRows, 10_000)
	q.MaxBytes = cmp.Or(q.MaxBytes, 8<<20)
	q.MaxBody = cmp.Or(q.MaxBody, 1<<20)
	q.Concurrent = cmp.Or(q.Concurrent, 100)
	q.ConcurrentPerSubject = cmp.Or(q.ConcurrentPerSubject, min(50, q.Concurrent))
	o.Streams = cmp.Or(o.Streams, 100)
	o.StreamsPerSubject = cmp.Or(o.StreamsPerSubject, min(20, o.Streams))
	o.ShutdownTimeout = cmp.Or(o.ShutdownTimeout, q.Timeout+5*time.Second)
	return o
}

// MinMetricsToken is how short a metrics token may be, so that it cannot be guessed.
const MinMetricsToken = 16

// QueryLimits bound one workspace.query; zero means the default.
type QueryLimits struct {
	Timeout  time.Duration // how long the statement may take (30 s)
	MaxRows  int           // how many rows the answer may have (10,000)
	MaxBytes int           // how large the answer may get (8 MiB)
	MaxBody  int64         // how large its body may be (1 MiB); any other: 16 KiB, or this if it is less
	// How many statements may be under way at once (100), and of one subject (50, or
	// Concurrent if that is less), once their bodies were read. Of bodies of more than
	// 16 KiB, twice as many may be on their way, and of one subject as many. The next is
	// refused.
	Concurrent, ConcurrentPerSubject int
}

// What a client may take its time for. That of a handler ends with its context.
const (
	headerTimeout = 10 * time.Second
	bodyTimeout   = 30 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10 // bytes
)

// Server serves the routes. Its methods may be called from any goroutine.
type Server struct {
	pool    Pool
	options Options
	log     *slog.Logger
	access  atomic.Pointer[access]
	routes  []route
	// leaving: Serve is to end, and clients are to go elsewhere.
	leaving atomic.Bool
	// drained is closed when the drain that a request asked for is done.
	drained chan struct{}
	// ending is done when event streams and waits for leases are to end, by end.
	ending context.Context
	end    context.CancelFunc

	description []byte // of the API
	readiness   shared[healthAnswer]
	readyLog    *readyLog
	snapshots   *snapshots
	group       shared[*look[model.SharedBudget]] // of processes that share a budget
	planned     shared[*look[model.Capacity]]
	exporter    http.Handler // of the metrics
	// limitsTurn holds one token while a request changes the limits.
	limitsTurn chan struct{}
	// dumping holds one token while a dump is made and sent.
	dumping chan struct{}
	// streams are the open event streams, bodies the large ones that are being read,
	// queries the statements under way.
	streams, bodies, queries *turns
	// draining: a drain that a request asked for is under way or done.
	draining atomic.Bool
}

// New returns a Server of the pool, which stays the caller's. It fails when the
// options are no good, or when a route has no roles.
func New(pool Pool, o Options) (*Server, error) {
	return newServer(pool, o, routes)
}

func newServer(pool Pool, o Options, routes []route) (*Server, error) {
	if pool == nil {
		return nil, errors.New("admin server: there is no pool")
	}
	o = o.withDefaults()
	if o.MaxTokenTTL < MinTTL || o.MaxTokenTTL > MaxTTL {
		return nil, fmt.Errorf("admin server: tokens may be valid for at most %v: it must be from %v to %v", o.MaxTokenTTL, MinTTL, MaxTTL)
	}
	if err := checkRoutes(routes); err != nil {
		return nil, err
	}
	if err := errors.Join(
		checkTurns("statements", "TENANTPOOL_MAX_QUERIES", o.Query.Concurrent, o.Query.ConcurrentPerSubject),
		checkTurns("event streams", "TENANTPOOL_MAX_STREAMS", o.Streams, o.StreamsPerSubject),
	); err != nil {
		return nil, fmt.Errorf("admin server: %w", err)
	}
	access, err := newAccess(o)
	if err != nil {
		return nil, err
	}
	routes = withHead(routes)
	description, err := describe(o.Query)
	if err != nil {
		return nil, fmt.Errorf("admin server: describe the routes: %w", err)
	}
	ending, end := context.WithCancel(context.Background())
	s := &Server{
		pool:    pool,
		options: o,
		log:     o.Log,
		routes:  routes,
		drained: make(chan struct{}),
		ending:  ending,
		end:     end,

		description: description,
		readyLog:    newReadyLog(o.Log),
		snapshots:   &snapshots{pool: pool},
		limitsTurn:  make(chan struct{}, 1),
		dumping:     make(chan struct{}, 1),
		streams:     newTurns(o.Streams, o.StreamsPerSubject),
		bodies:      newTurns(2*o.Query.Concurrent, o.Query.ConcurrentPerSubject),
		queries:     newTurns(o.Query.Concurrent, o.Query.ConcurrentPerSubject),
	}
	s.access.Store(access)
	s.exporter = s.newExporter()
	return s, nil
}

// jsonLines writes as pools does by default; neither knows the other.
func jsonLines(to io.Writer, level slog.Level) *slog.Logger {
	named := func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.MessageKey {
			a.Key = "message"
		}
		return a
	}
	return slog.New(slog.NewJSONHandler(to, &slog.HandlerOptions{Level: level, ReplaceAttr: named}))
}

// Mount puts the routes on e, under the prefix ("" or one as "/admin"). It adds
// nothing else: e's other routes and its error handler stay as they are. It fails
// when a route of e is in the way.
//
// Before e is shut down, Close ends the event streams, which would otherwise keep
// it waiting.
func (s *Server) Mount(e *echo.Echo, prefix string) error {
	if err := checkPrefix(prefix); err != nil {
		return err
	}
	taken := make(map[string]bool)
	for _, r := range e.Routes() {
		taken[r.Method+" "+r.Path] = true
	}
	all := s.routes
	if prefix != "" { // the prefix alone leads to the dashboard
		all = append(slices.Clone(all), withHead([]route{{
			method: http.MethodGet, roles: anybody, serve: (*Server).dashboard,
		}})...)
	}
	for _, r := range all {
		if name := r.method + " " + prefix + r.path; taken[name] {
			return fmt.Errorf("admin server: there is a route %s already: choose another prefix than %q", name, prefix)
		}
	}
	for _, r := range all {
		e.Add(r.method, prefix+r.path, s.authorized(r), s.shell)
	}
	return nil
}

func checkPrefix(prefix string) error {
	if prefix == "" || prefix[0] == '/' && len(prefix) > 1 && !strings.HasSuffix(prefix, "/") && !strings.ContainsAny(prefix, ":*?#") {
		return nil
	}
	return fmt.Errorf(`admin server: the prefix %q must be empty, or begin with / and not end with it, as "/admin"`, prefix)
}

// Close ends the event streams and the waits for leases (of a pause or a deletion),
// now and for good. Serve does it itself.
func (s *Server) Close() { s.end() }

// Drained is closed when a drain that a request asked for is done. Nothing is lent any
// more then, so the program may end.
func (s *Server) Drained() <-chan struct{} { return s.drained }

// Serve answers requests that come to l, until ctx is done. For Options.ShutdownDelay it
// goes on, with /readyz at 503 and without keeping connections open (not if Close was
// called before). Then it accepts no more, ends the event streams and lets the other requests end, for at most
// Options.ShutdownTimeout; after that it cuts them off and returns an error. l is
// closed when it returns. The pool stays open.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	errorLog := log.New(complaints{s.log}, "", 0)
	server := &http.Server{
		Handler:           s.alone(),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          errorLog,
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		s.Close()
		return fmt.Errorf("admin server: %w", err)
	case <-ctx.Done():
	}
	s.leaving.Store(true)
	if delay := s.options.ShutdownDelay; delay > 0 && s.ending.Err() == nil {
		s.log.Info("Not ready any more, but still serving", "delay", delay.String())
		select {
		case err := <-ended:
			s.Close()
			return fmt.Errorf("admin server: %w", err)
		case <-time.After(delay):
		}
	}
	s.Close()
	stopping, stop := context.WithTimeout(context.WithoutCancel(ctx), s.options.ShutdownTimeout)
	defer stop()
	err := server.Shutdown(stopping)
	if err != nil {
		_ = server.Close()
		err = fmt.Errorf("admin server: requests were still under way after %v and were cut off: %w", s.options.ShutdownTimeout, err)
	}
	if serving := <-ended; err == nil && !errors.Is(serving, http.ErrServerClosed) {
		err = fmt.Errorf("admin server: %w", serving)
	}
	return err
}

// alone is an Echo with nothing but the routes.
func (s *Server) alone() *echo.Echo {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.Logger.SetOutput(io.Discard)
	e.IPExtractor = echo.ExtractIPDirect()
	e.Use(s.shell) // for the paths that are no routes, too
	for _, r := range s.routes {
		e.Add(r.method, r.path, s.authorized(r))
	}
	return e
}

// complaints are net/http's. What a client does is its own business; the rest, as a
// process without a file descriptor left, is the operator's.
type complaints struct{ log *slog.Logger }

func (w complaints) Write(p []byte) (int, error) {
	complaint := strings.TrimSpace(string(p))
	log := w.log.With("error", complaint)
	switch {
	case strings.Contains(complaint, ": panic serving "):
		log.Error("HTTP connection failed")
	case strings.HasPrefix(complaint, "http: TLS handshake error"), strings.HasPrefix(complaint, "http2: "):
		log.Debug("HTTP connection failed")
	default:
		log.Warn("HTTP server in trouble")
	}
	return len(p), nil
}
