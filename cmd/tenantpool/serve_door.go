package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/door"
	"github.com/tenantpool/tenantpool/web"
)

// The variables of the wire door.
const (
	pgListenVariable          = "TENANTPOOL_PG_LISTEN"
	pgUsersVariable           = "TENANTPOOL_PG_USERS"
	pgUsersQueryVariable      = "TENANTPOOL_PG_USERS_QUERY"
	pgCertVariable            = "TENANTPOOL_PG_TLS_CERT"
	pgKeyVariable             = "TENANTPOOL_PG_TLS_KEY"
	pgClientCAVariable        = "TENANTPOOL_PG_TLS_CLIENT_CA"
	pgRequireTLSVariable      = "TENANTPOOL_PG_REQUIRE_TLS"
	pgPoolingVariable         = "TENANTPOOL_PG_POOLING"
	pgSessionStateVariable    = "TENANTPOOL_PG_SESSION_STATE"
	pgMaxClientsVariable      = "TENANTPOOL_PG_MAX_CLIENTS"
	pgNoticeAfterVariable     = "TENANTPOOL_PG_NOTICE_AFTER"
	pgIdleTransactionVariable = "TENANTPOOL_PG_IDLE_TRANSACTION_TIMEOUT"
	pgClientIdleVariable      = "TENANTPOOL_PG_CLIENT_IDLE_TIMEOUT"
)

// doorSettings is what the environment says of the wire door.
type doorSettings struct {
	listen              []string // none: there is no door
	users, usersQuery   string
	cert, key, clientCA string
	pooling, state      string
	requireTLS          string
	options             door.Options
}

func (d *doorSettings) fromEnv() error {
	if listen := os.Getenv(pgListenVariable); listen != "" {
		for address := range strings.SplitSeq(listen, ",") {
			d.listen = append(d.listen, strings.TrimSpace(address))
		}
	}
	d.users, d.usersQuery = os.Getenv(pgUsersVariable), os.Getenv(pgUsersQueryVariable)
	d.cert, d.key, d.clientCA = os.Getenv(pgCertVariable), os.Getenv(pgKeyVariable), os.Getenv(pgClientCAVariable)
	d.pooling, d.state, d.requireTLS = "transaction", "pin", "false"
	o := &d.options
	o.MaxClients = 10_000
	o.NoticeAfter = time.Second
	within := func(most time.Duration) string {
		return fmt.Sprintf("a duration with its unit, such as 500ms, 30s or 12h, from 0s to %v", most)
	}
	err := errors.Join(
		fromEnv(pgPoolingVariable, choice(&d.pooling, "transaction", "session")),
		fromEnv(pgSessionStateVariable, choice(&d.state, "pin", "refuse")),
		fromEnv(pgRequireTLSVariable, choice(&d.requireTLS, "true", "false")),
		fromEnv(pgMaxClientsVariable, wholeNumber(&o.MaxClients, 1, mostAtOnce)),
		fromEnv(pgNoticeAfterVariable, duration(&o.NoticeAfter, 0, longest, within(longest))),
		fromEnv(pgIdleTransactionVariable, duration(&o.IdleTransactionTimeout, 0, longest, within(longest))),
		fromEnv(pgClientIdleVariable, duration(&o.ClientIdleTimeout, 0, longest, within(longest))),
	)
	o.RequireTLS = d.requireTLS == "true"
	if o.Pooling = door.TransactionPooling; d.pooling == "session" {
		o.Pooling = door.SessionPooling
	}
	if d.state == "refuse" {
		o.SessionState = door.RefuseSession
	}
	if o.NoticeAfter == 0 {
		o.NoticeAfter = -1 // never
	}
	return err
}

// check finds what does not go together.
func (d *doorSettings) check() error {
	switch {
	case len(d.listen) == 0:
		return nil
	case d.users != "" && d.usersQuery != "":
		return fmt.Errorf("%s and %s are both set: users come from a file or from a query", pgUsersVariable, pgUsersQueryVariable)
	case (d.cert == "") != (d.key == ""):
		return fmt.Errorf("%s and %s belong together: set both, or neither", pgCertVariable, pgKeyVariable)
	case d.cert == "" && (d.clientCA != "" || d.options.RequireTLS):
		return fmt.Errorf("%s and %s need a certificate: set %s and %s", pgClientCAVariable, pgRequireTLSVariable, pgCertVariable, pgKeyVariable)
	}
	return nil
}

// wireDoor is the door of a program that serves; nil: it has none.
type wireDoor struct {
	door         *door.Door
	users        *door.Users
	certificates *door.Certificates
	served       chan error
	listeners    int
	closeOnce    sync.Once
	closed       error
}

// openDoor listens for PostgreSQL's clients. end ends the program.
func openDoor(set doorSettings, manager *pools.Manager, server *web.Server, log *slog.Logger, end context.CancelCauseFunc) (*wireDoor, error) {
	if len(set.listen) == 0 {
		return nil, nil
	}
	w := &wireDoor{served: make(chan error, len(set.listen))}
	o := set.options
	o.Log = log
	o.Tokens = func(token string) (door.Grant, error) { return grantOf(server, token) }
	o.Reload = w.reload
	o.Shutdown = func(bool) { end(errors.New("SHUTDOWN in the door's console")) }
	var err error
	switch {
	case set.users != "":
		w.users, err = door.ReadUsers(set.users)
	case set.usersQuery != "":
		w.users = door.QueryUsers(manager, set.usersQuery)
	}
	if err == nil && set.cert != "" {
		w.certificates, err = door.ReadCertificates(set.cert, set.key, set.clientCA)
	}
	if err != nil {
		return nil, err
	}
	o.Users, o.Certificates = w.users, w.certificates
	if w.door, err = door.New(manager, o); err != nil {
		return nil, err
	}
	for _, address := range set.listen {
		listener, err := listenShared(address)
		if err != nil {
			return nil, errors.Join(err, w.close(0))
		}
		w.listeners++
		go func() {
			err := w.door.Serve(listener)
			if err != nil {
				end(err) // without its door the program is not what was started
			}
			w.served <- err
		}()
		log.Info("Listening for PostgreSQL's clients", "address", listener.Addr().String(), "tls", set.cert != "")
		if a, ok := listener.Addr().(*net.TCPAddr); ok && !a.IP.IsLoopback() && !o.RequireTLS {
			log.Warn("PostgreSQL's clients may connect without TLS from other machines", "address", a.String(), "set", pgRequireTLSVariable)
		}
	}
	return w, nil
}

// grantOf is what a token of the admin API opens: the workspaces of the role service, or the
// console.
func grantOf(server *web.Server, token string) (door.Grant, error) {
	who, err := server.CheckToken(token)
	if err != nil {
		return door.Grant{}, err
	}
	grant := door.Grant{User: who.Subject, Until: who.Expires}
	switch who.Role {
	case web.Viewer:
		grant.Console = door.Viewer
	case web.Operator:
		grant.Console = door.Admin
	case web.Service:
		for _, id := range who.Workspaces {
			grant.Workspaces = append(grant.Workspaces, string(id))
		}
	}
	return grant, nil
}

// listenShared lets a new process listen on the port of one that is about to end. An address
// that begins with unix: is a socket's path.
func listenShared(address string) (net.Listener, error) {
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
		if conn, err := net.Dial(network, path); err == nil {
			_ = conn.Close() // somebody listens there
		} else if about, err := os.Stat(path); err == nil && about.Mode()&os.ModeSocket != 0 {
			_ = os.Remove(path) // of one that was killed
		}
	}
	config := net.ListenConfig{Control: sharePort}
	return config.Listen(context.Background(), network, address)
}

// reload reads the users and the certificates again.
func (w *wireDoor) reload() error {
	var wrong []error
	if w.users != nil {
		wrong = append(wrong, w.users.Reload())
	}
	if w.certificates != nil {
		wrong = append(wrong, w.certificates.Reload())
	}
	return errors.Join(wrong...)
}

// close lets nobody in any more after the delay, and waits until the clients' transactions
// have ended. A second call waits for the first.
func (w *wireDoor) close(delay time.Duration) error {
	if w == nil {
		return nil
	}
	w.closeOnce.Do(func() {
		time.Sleep(delay)
		ctx, stop := context.WithTimeout(context.Background(), requestsWithin)
		defer stop()
		w.closed = w.door.Shutdown(ctx)
		for range w.listeners {
			w.closed = errors.Join(w.closed, <-w.served)
		}
	})
	return w.closed
}
