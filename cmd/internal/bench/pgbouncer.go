package bench

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

//go:embed pgbouncer.sh
var runBouncer string

// bouncer is a PgBouncer process that belongs to us.
type bouncer struct {
	port   int
	cmd    *exec.Cmd
	stdin  io.Closer
	folder string
	ended  chan struct{} // its output has ended
	opened atomic.Uint64 // connections to the server, by its log
	last   atomic.Pointer[string]
}

// startBouncer starts PgBouncer on a free port of this machine, and returns when
// it listens.
func startBouncer(ctx context.Context, s *setting) (*bouncer, error) {
	program, err := findBouncer()
	if err != nil {
		return nil, err
	}
	user, err := unprivileged()
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "tenantpool-bouncer-")
	if err != nil {
		return nil, fmt.Errorf("PgBouncer's folder: %w", err)
	}
	b := &bouncer{folder: folder, ended: make(chan struct{})}
	if b.port, err = freePort(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	if err := b.configure(s, user); err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	args := []string{"-c", runBouncer, "tenantpool-bouncer", folder, program}
	if user.name != "" {
		args = append(args, "-u", user.name)
	}
	b.cmd = exec.Command("/bin/sh", append(args, filepath.Join(folder, "pgbouncer.ini"))...)
	b.cmd.Env = append(os.Environ(), "LC_ALL=C") // its log is read
	detach(b.cmd)
	stderr, err := b.cmd.StderrPipe()
	if err == nil {
		b.stdin, err = b.cmd.StdinPipe()
	}
	if err == nil {
		err = b.cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start PgBouncer: %w", err), os.RemoveAll(folder))
	}
	go b.read(stderr)
	if err := b.await(ctx); err != nil {
		return nil, errors.Join(err, b.stop())
	}
	return b, nil
}

// bouncerPrograms: Debian installs it where few users' PATH leads. A test puts in
// another.
var bouncerPrograms = []string{"pgbouncer", "/usr/sbin/pgbouncer", "/usr/local/sbin/pgbouncer"}

func findBouncer() (string, error) {
	for _, name := range bouncerPrograms {
		if program, err := exec.LookPath(name); err == nil {
			return program, nil
		}
	}
	return "", errors.New("PgBouncer is not installed: apt-get install pgbouncer, or the like")
}

// freePort was free a moment ago.
func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a port for PgBouncer: %w", err)
	}
	return listener.Addr().(*net.TCPAddr).Port, listener.Close()
}

// configure writes its files, for its user alone.
//
// PgBouncer has limits for each database and for each user, and none for all
// databases together. All strategies log in as one role, so its limit for that
// user (max_user_connections) comes to the same: at the limit it closes the idle
// connection that has been idle the longest, as tenantpool does.
func (b *bouncer) configure(s *setting, user account) error {
	ini := fmt.Sprintf(`[databases]
* = host=%s port=%d
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
pool_mode = transaction
auth_type = scram-sha-256
auth_file = %s
default_pool_size = %d
max_db_connections = %d
max_user_connections = %d
max_client_conn = %d
server_tls_sslmode = %s
server_login_retry = 1
log_disconnections = 0
`, s.login.Host, s.login.Port, b.port, filepath.Join(b.folder, "users"),
		s.options.Cap, s.options.Cap, s.config.WorkspaceBudget(),
		len(s.databases)*s.options.Cap+100, s.config.SSLMode)
	quote := strings.NewReplacer(`"`, `""`)
	users := fmt.Sprintf("\"%s\" \"%s\"\n", quote.Replace(s.login.User), quote.Replace(s.secret))
	for name, content := range map[string]string{"pgbouncer.ini": ini, "users": users} {
		if err := os.WriteFile(filepath.Join(b.folder, name), []byte(content), 0o600); err != nil {
			return fmt.Errorf("PgBouncer's configuration: %w", err)
		}
	}
	return user.own(b.folder, filepath.Join(b.folder, "pgbouncer.ini"), filepath.Join(b.folder, "users"))
}

// read counts in the log what it opens.
func (b *bouncer) read(log io.Reader) {
	defer close(b.ended)
	for lines := bufio.NewScanner(log); lines.Scan(); {
		line := lines.Text()
		if strings.Contains(line, "new connection to server") {
			b.opened.Add(1)
		}
		b.last.Store(&line)
	}
}

// await blocks until it listens.
func (b *bouncer) await(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", b.port))
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			said := "nothing"
			if last := b.last.Load(); last != nil {
				said = *last
			}
			return fmt.Errorf("PgBouncer does not listen; its last word: %s", said)
		}
	}
}

// login is the client's way to it.
func (b *bouncer) login(direct *pgx.ConnConfig) *pgx.ConnConfig {
	login := direct.Copy()
	login.Host, login.Port = "127.0.0.1", uint16(b.port)
	login.TLSConfig, login.Fallbacks = nil, nil
	login.RuntimeParams = map[string]string{} // it refuses those that it does not know
	// In transaction mode the next statement may run on another connection, where
	// nothing is prepared.
	login.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	return login
}

// stop ends it and waits until its connections to the server and its files are
// gone.
func (b *bouncer) stop() error {
	_ = b.stdin.Close()
	timer := time.AfterFunc(5*time.Second, func() { kill(b.cmd) })
	defer timer.Stop()
	<-b.ended
	_ = b.cmd.Wait() // how it ended does not matter now
	return os.RemoveAll(b.folder)
}
