package riverpool

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver"

	"github.com/tenantpool/tenantpool/pools"
)

// listener holds a lease from Connect to Close.
type listener struct {
	workspace *pools.Workspace
	// session has one value always: who takes it out has the connection to himself until
	// he puts it back.
	session chan session
}

type session struct {
	conn   *pools.Conn // nil while it is not connected
	schema string
	// prefix begins the channels' names: the schema and a dot.
	prefix string
	// first is run by Connect; River's tests set it.
	first string
}

var (
	errConnected    = errors.New("riverpool: the listener is connected already")
	errNotConnected = errors.New("riverpool: the listener is not connected")
)

func newListener(workspace *pools.Workspace, schema string) *listener {
	l := &listener{workspace, make(chan session, 1)}
	l.session <- session{schema: schema}
	return l
}

// Connect acquires the connection.
func (l *listener) Connect(ctx context.Context) error {
	s := <-l.session
	defer func() { l.session <- s }()
	if s.conn != nil {
		return errConnected
	}
	conn, err := l.workspace.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("a connection to listen on: %w", err)
	}
	if s.first != "" {
		_, err = conn.Exec(ctx, s.first)
	}
	if err == nil && s.schema == "" {
		err = conn.QueryRow(ctx, `SELECT coalesce(current_schema(), '')`).Scan(&s.schema)
	}
	if err != nil {
		conn.Release()
		return fmt.Errorf("prepare the connection to listen on: %w", err)
	}
	if s.schema != "" {
		s.prefix = s.schema + "."
	}
	s.conn = conn
	return nil
}

// Close gives the connection back, on which nothing listens any more, also when ctx is
// done. It blocks for at most closeTimeout.
func (l *listener) Close(ctx context.Context) error {
	s := <-l.session
	defer func() { l.session <- s }()
	if s.conn == nil {
		return nil
	}
	conn := s.conn
	s.conn = nil
	defer conn.Release()
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer stop()
	_, err := conn.Exec(ctx, `UNLISTEN *`)
	if err != nil {
		// It may listen still, and is not lent again.
		_ = conn.Conn().Close(ctx)
		return fmt.Errorf("stop listening: %w", err)
	}
	// What has arrived and was not asked for is nobody else's.
	stop()
	for err == nil {
		_, err = conn.Conn().WaitForNotification(ctx)
	}
	return nil
}

const closeTimeout = 5 * time.Second

func (l *listener) Listen(ctx context.Context, topic string) error {
	return l.exec(ctx, `LISTEN `, topic)
}

func (l *listener) Unlisten(ctx context.Context, topic string) error {
	return l.exec(ctx, `UNLISTEN `, topic)
}

func (l *listener) exec(ctx context.Context, command, topic string) error {
	s := <-l.session
	defer func() { l.session <- s }()
	if s.conn == nil {
		return errNotConnected
	}
	_, err := s.conn.Exec(ctx, command+pgx.Identifier{s.prefix + topic}.Sanitize())
	return err
}

func (l *listener) Ping(ctx context.Context) error {
	s := <-l.session
	defer func() { l.session <- s }()
	if s.conn == nil {
		return errNotConnected
	}
	return s.conn.Ping(ctx)
}

// WaitForNotification blocks the other methods until it returns; River ends its context
// before it calls one of them.
func (l *listener) WaitForNotification(ctx context.Context) (*riverdriver.Notification, error) {
	s := <-l.session
	defer func() { l.session <- s }()
	if s.conn == nil {
		return nil, errNotConnected
	}
	n, err := s.conn.Conn().WaitForNotification(ctx)
	if err != nil {
		return nil, err
	}
	return &riverdriver.Notification{Topic: strings.TrimPrefix(n.Channel, s.prefix), Payload: n.Payload}, nil
}

func (l *listener) Schema() string {
	s := <-l.session
	defer func() { l.session <- s }()
	return s.schema
}

func (l *listener) SetAfterConnectExec(sql string) {
	s := <-l.session
	s.first = sql
	l.session <- s
}
