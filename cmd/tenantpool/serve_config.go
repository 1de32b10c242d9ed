package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/secret"
	"github.com/tenantpool/tenantpool/web"
)

// The variables of serve besides those of the pool (DB_...) and the public key.
const (
	addrVariable             = "TENANTPOOL_ADDR"
	metricsTokenVariable     = "METRICS_TOKEN"
	workspaceMetricsVariable = "TENANTPOOL_WORKSPACE_METRICS"
	maxTokenTTLVariable      = "TENANTPOOL_MAX_TOKEN_TTL"
	revocationsVariable      = "TENANTPOOL_REVOCATIONS"
	dumpDirVariable          = "TENANTPOOL_DUMP_DIR"
	dumpAfterVariable        = "TENANTPOOL_DUMP_AFTER"
	shutdownDelayVariable    = "TENANTPOOL_SHUTDOWN_DELAY"
	serverWaitVariable       = "TENANTPOOL_SERVER_WAIT"
	instanceVariable         = "TENANTPOOL_INSTANCE"
	queriesVariable          = "TENANTPOOL_MAX_QUERIES"
	ownQueriesVariable       = "TENANTPOOL_MAX_QUERIES_PER_SUBJECT"
	streamsVariable          = "TENANTPOOL_MAX_STREAMS"
	ownStreamsVariable       = "TENANTPOOL_MAX_STREAMS_PER_SUBJECT"
)

// defaultAddr is reached from this machine only: the server speaks plain HTTP.
const defaultAddr = "127.0.0.1:8080"

// defaultServerWait is as long as a PostgreSQL that starts beside the program takes, and
// short enough that a failed start shows up in the pod's status.
const defaultServerWait = time.Minute

// defaultDumpAfter is a wait that people notice, and shorter than DB_ACQUIRE_TIMEOUT.
const defaultDumpAfter = 2 * time.Second

// longest is of durations that have no bound of their own: longer is a slip.
const longest = 24 * time.Hour

// mostAtOnce is more requests than one process serves.
const mostAtOnce = 100_000

// serveSettings is what the environment says.
type serveSettings struct {
	pool       model.Config
	web        web.Options
	dumps      []pools.Option
	serverWait time.Duration
	door       doorSettings
}

// serveConfig reads the environment, and says all that is wrong with it.
func serveConfig() (set serveSettings, err error) {
	set.pool, err = pools.ConfigFromEnv()
	wrong := []error{err}
	note := func(err error) { wrong = append(wrong, err) }
	o := &set.web
	note(accessFromEnv(o))
	o.ShutdownTimeout = requestsWithin
	noteDuration := func(variable string, into *time.Duration, low, high time.Duration) {
		must := fmt.Sprintf("a duration with its unit, such as 500ms, 30s or 12h, from %v to %v", low, high)
		note(fromEnv(variable, duration(into, low, high, must)))
	}
	noteDuration(maxTokenTTLVariable, &o.MaxTokenTTL, web.MinTTL, web.MaxTTL)
	if path := os.Getenv(revocationsVariable); path != "" {
		if o.Revocations, err = web.ReadRevocations(path); err != nil {
			note(fmt.Errorf("%s: %w: mend it, or create it empty", revocationsVariable, err))
		}
	}
	if given := os.Getenv(workspaceMetricsVariable); given != "" {
		if o.WorkspaceMetrics, err = strconv.ParseBool(given); err != nil {
			note(fmt.Errorf("%s is %q: it must be true or false", workspaceMetricsVariable, given))
		}
	}
	noteDuration(shutdownDelayVariable, &o.ShutdownDelay, 0, longest)
	set.serverWait = defaultServerWait
	noteDuration(serverWaitVariable, &set.serverWait, 0, longest)
	for variable, into := range map[string]*int{
		queriesVariable: &o.Query.Concurrent, ownQueriesVariable: &o.Query.ConcurrentPerSubject,
		streamsVariable: &o.Streams, ownStreamsVariable: &o.StreamsPerSubject,
	} {
		note(fromEnv(variable, wholeNumber(into, 1, mostAtOnce)))
	}
	note(set.door.fromEnv())
	dumpAfter := defaultDumpAfter
	noteDuration(dumpAfterVariable, &dumpAfter, time.Millisecond, longest)
	if dir := os.Getenv(dumpDirVariable); dir != "" {
		set.dumps = append(set.dumps, pools.WithDumps(dir, dumpAfter))
	}
	return set, errors.Join(wrong...)
}

// accessFromEnv reads whom the server lets in.
func accessFromEnv(o *web.Options) error {
	var wrong []error
	var err error
	if o.MetricsToken, err = secret.FromEnv(metricsTokenVariable); err != nil {
		wrong = append(wrong, err)
	} else if n := len(o.MetricsToken); n > 0 && n < web.MinMetricsToken {
		wrong = append(wrong, fmt.Errorf("%s has %d bytes: use at least %d, so that it cannot be guessed", metricsTokenVariable, n, web.MinMetricsToken))
	}
	if keys, err := secret.FromEnv(publicKeyVariable); err != nil {
		wrong = append(wrong, err)
	} else if keys == "" {
		wrong = append(wrong, errors.New(publicKeyVariable+" is not set, so no token could be checked: make a key pair with tenantpool keygen"))
	} else if o.Keys, err = web.ParsePublicKeys(keys); err != nil {
		wrong = append(wrong, fmt.Errorf("%s: %w", publicKeyVariable, err))
	}
	return errors.Join(wrong...)
}
