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
	"golang.org/x/sync/errgroup"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
)

//go:embed peer.sh
var runPeer string

// program is a pooler that is installed, or not.
type program struct {
	name, debian string   // what it is called, and its package
	paths        []string // Debian installs it where few users' PATH leads
}

var (
	pgBouncerProgram = program{"PgBouncer", "pgbouncer", []string{"pgbouncer", "/usr/sbin/pgbouncer", "/usr/local/sbin/pgbouncer"}}
	pgpoolProgram    = program{"pgpool-II", "pgpool2", []string{"pgpool", "/usr/sbin/pgpool", "/usr/local/sbin/pgpool"}}
)

func (p program) find() (string, error) {
	for _, name := range p.paths {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed: apt-get install %s, or the like", p.name, p.debian)
}

// peer is a pooler's process that belongs to us, with a folder of its own.
type peer struct {
	program
	folder string
	cmd    *exec.Cmd
	stdin  io.Closer
	ended  chan struct{} // its output has ended
	last   atomic.Pointer[string]
}

// start runs the program with its files, which are for its user alone, and returns
// when it listens. args and files may name {folder}; said gets each line of its log.
func (p program) start(ctx context.Context, network, address string, args []string, files map[string]string, said func(string)) (_ *peer, err error) {
	path, err := p.find()
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "tenantpool-"+p.debian+"-")
	if err != nil {
		return nil, fmt.Errorf("%s's folder: %w", p.name, err)
	}
	here := strings.NewReplacer("{folder}", folder)
	run := []string{"-c", runPeer, "tenantpool-peer", folder, path}
	for _, arg := range args {
		run = append(run, here.Replace(arg))
	}
	b := &peer{program: p, folder: folder, cmd: exec.Command("/bin/sh", run...), ended: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(folder))
		}
	}()
	b.cmd.Env = append(os.Environ(), "LC_ALL=C") // its log is read
	b.cmd.Dir = folder
	made := []string{folder}
	for name, content := range files {
		name = filepath.Join(folder, name)
		if err := os.WriteFile(name, []byte(here.Replace(content)), 0o600); err != nil {
			return nil, fmt.Errorf("%s's configuration: %w", p.name, err)
		}
		made = append(made, name)
	}
	if err := separate(b.cmd, made); err != nil {
		return nil, fmt.Errorf("%s: %w", p.name, err)
	}
	stderr, err := b.cmd.StderrPipe()
	if err == nil {
		b.stdin, err = b.cmd.StdinPipe()
	}
	if err == nil {
		err = b.cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	go func() {
		defer close(b.ended)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			line := lines.Text()
			said(line)
			b.last.Store(&line)
		}
	}()
	if err := b.await(ctx, network, here.Replace(address)); err != nil {
		return nil, errors.Join(err, b.stop())
	}
	return b, nil
}

// await blocks until it listens.
func (b *peer) await(ctx context.Context, network, address string) error {
	ctx, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-time.After(10 * time.Millisecond):
			continue
		case <-b.ended:
		case <-ctx.Done():
		}
		said := "nothing"
		if last := b.last.Load(); last != nil {
			said = *last
		}
		return fmt.Errorf("%s does not listen; its last word: %s", b.name, said)
	}
}

// stop ends it and waits until its connections to the server and its files are
// gone.
func (b *peer) stop() error {
	_ = b.stdin.Close()
	timer := time.AfterFunc(5*time.Second, func() { kill(b.cmd) })
	defer timer.Stop()
	<-b.ended
	_ = b.cmd.Wait() // how it ended does not matter now
	return os.RemoveAll(b.folder)
}

// freePort was free a moment ago.
func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	return listener.Addr().(*net.TCPAddr).Port, listener.Close()
}

// bounced is PgBouncer in transaction mode, with as many server connections as
// tenantpool's workspaces have and the same cap.
//
// Its clients are a pgxpool for each workspace, of as many connections as
// PgBouncer would serve at once. All of them are open before the requests come,
// so that no request pays for a login to PgBouncer; and so is what PgBouncer
// itself opens for them. A connection for each worker and workspace would be
// thousands, and serve no request sooner.
type bounced struct {
	*poolEach
	peer   *peer
	opened atomic.Uint64 // connections to the server, by its log
}

// openPgBouncer: where PgBouncer cannot run, the others still can.
func openPgBouncer(ctx context.Context, r *contest) (pool, error) {
	b := &bounced{}
	if err := b.open(ctx, r); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoTurn, err)
	}
	return b, nil
}

func (b *bounced) open(ctx context.Context, r *contest) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	b.peer, err = pgBouncerProgram.start(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port), []string{"{folder}/pgbouncer.ini"},
		map[string]string{"pgbouncer.ini": bouncerIni(r, port), "users": bouncerUsers(ctx, r)},
		func(line string) {
			if strings.Contains(line, "new connection to server") {
				b.opened.Add(1)
			}
		})
	if err != nil {
		return err
	}
	if b.poolEach, err = openPoolEach(ctx, r, throughPooler(r, uint16(port))); err != nil {
		return errors.Join(err, b.peer.stop())
	}
	if err := b.connect(ctx, r.Cap); err != nil {
		return errors.Join(err, b.close(ctx))
	}
	return nil
}

// throughPooler is how a client connects to a pooler of this machine.
func throughPooler(r *contest, port uint16) *pgx.ConnConfig {
	login := r.Login.Copy()
	login.Host, login.Port = "127.0.0.1", port
	login.TLSConfig, login.Fallbacks = nil, nil
	login.RuntimeParams = map[string]string{} // PgBouncer refuses those that it does not know
	// In transaction mode the next statement may run on another connection, where
	// nothing is prepared.
	login.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	return login
}

// bouncerIni: PgBouncer has limits for each database and for each user, and none for
// all databases together. All strategies log in as one role, so its limit for that
// user (max_user_connections) comes to the same: at the limit it closes the idle
// connection that has been idle the longest, as tenantpool does.
func bouncerIni(r *contest, port int) string {
	return fmt.Sprintf(`[databases]
* = host=%s port=%d
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
pool_mode = transaction
auth_type = scram-sha-256
auth_file = {folder}/users
default_pool_size = %d
max_db_connections = %d
max_user_connections = %d
max_client_conn = %d
server_tls_sslmode = %s
server_login_retry = 1
log_disconnections = 0
`, r.Login.Host, r.Login.Port, port, r.Cap, r.Cap, r.workspaceBudget(), len(r.Databases)*r.Cap+100, r.Config.SSLMode)
}

// bouncerUsers is what PgBouncer knows the role by. With the server's own SCRAM
// secret it need not derive keys from the password at each login to the server, which
// would cost it a millisecond each. Only superusers may read it; the password does as
// well.
func bouncerUsers(ctx context.Context, r *contest) string {
	secret := r.Login.Password
	if conn, err := pgx.Connect(ctx, r.Observer); err == nil {
		defer stage.HangUp(conn)
		const ask = "SELECT rolpassword FROM pg_authid WHERE rolname = $1 AND rolpassword LIKE 'SCRAM-SHA-256$%'"
		var found string
		if conn.QueryRow(ctx, ask, r.Login.User).Scan(&found) == nil {
			secret = found
		}
	}
	quote := strings.NewReplacer(`"`, `""`)
	return fmt.Sprintf("\"%s\" \"%s\"\n", quote.Replace(r.Login.User), quote.Replace(secret))
}

// connect opens all client connections, a few workspaces at a time.
func (b *bounced) connect(ctx context.Context, each int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for workspace := range b.pools {
		group.Go(func() error {
			for range each {
				lease, err := b.acquire(ctx, workspace)
				if err != nil {
					return err
				}
				defer lease.Release()
			}
			return nil
		})
	}
	return group.Wait()
}

func (b *bounced) made() uint64 { return b.opened.Load() }

func (b *bounced) close(ctx context.Context) error {
	return errors.Join(b.poolEach.close(ctx), b.peer.stop())
}

// pooled is pgpool-II. Each of its processes serves one session at a time and keeps
// the last few databases' connections for itself: a session finds an open connection
// only in the process that it happens to get. An idle session keeps its process, so
// that a client pool for each workspace would have most of them for nothing; each
// request opens a session of its own, over a socket in a folder of ours and without a
// password, which costs the least.
//
// There are as many processes as a workspace may have connections, so the cap holds,
// and all together keep what tenantpool's workspaces have. Tried: more processes with
// fewer connections each serve more sessions at once, but hardly ever find a connection
// (90 with one each: 2 % where 30 with three find 9 and three with 30 find 98).
type pooled struct {
	contest *contest
	peer    *peer
	// seen are the connections to the server that sessions have had; who holds it is
	// alone with it.
	seen chan map[backend]bool
	all  atomic.Uint64
}

// backend is the server's own key of a connection, which pgpool-II passes on.
type backend struct {
	pid    uint32
	secret string
}

// openPgpool: where pgpool-II cannot run, the others still can.
func openPgpool(ctx context.Context, r *contest) (pool, error) {
	p := &pooled{contest: r, seen: make(chan map[backend]bool, 1)}
	p.seen <- map[backend]bool{}
	var err error
	p.peer, err = pgpoolProgram.start(ctx, "unix", "{folder}/.s.PGSQL.5432",
		[]string{"-n", "-D", "-f", "{folder}/pgpool.conf", "-a", "{folder}/hba", "-F", "{folder}/pcp", "-k", "{folder}/key"},
		map[string]string{
			"pgpool.conf": pgpoolConf(r),
			"hba":         "local all all trust\n",
			"users":       r.Login.User + ":TEXT" + r.Login.Password + "\n",
		}, func(string) {})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoTurn, err)
	}
	return p, nil
}

func pgpoolConf(r *contest) string {
	quote := strings.NewReplacer(`\`, `\\`, `'`, `''`)
	return fmt.Sprintf(`listen_addresses = ''
unix_socket_directories = '{folder}'
socket_dir = '{folder}'
port = 5432
pcp_listen_addresses = ''
pcp_socket_dir = '{folder}'
pid_file_name = '{folder}/pid'
logdir = '{folder}'
log_destination = 'stderr'
pool_passwd = '{folder}/users'
enable_pool_hba = on
backend_clustering_mode = 'raw'
backend_hostname0 = '%s'
backend_port0 = %d
backend_flag0 = 'DISALLOW_TO_FAILOVER'
num_init_children = %d
listen_backlog_multiplier = 1000
max_pool = %d
child_life_time = 0
connection_life_time = 0
reset_query_list = ''
failover_on_backend_error = off
check_temp_table = none
check_unlogged_table = off
memqcache_total_size = 1MB
`, quote.Replace(r.Login.Host), r.Login.Port, r.Cap, max(1, r.workspaceBudget()/r.Cap))
}

func (p *pooled) acquire(ctx context.Context, workspace int) (lease, error) {
	login := p.contest.LoginTo(workspace)
	login.Host, login.Port, login.Password = p.peer.folder, 5432, ""
	login.TLSConfig, login.Fallbacks = nil, nil
	login.RuntimeParams = map[string]string{} // connections with others are others
	login.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	conn, err := pgx.ConnectConfig(ctx, login)
	if err != nil {
		return nil, err
	}
	key := backend{conn.PgConn().PID(), string(conn.PgConn().SecretKey())}
	seen := <-p.seen
	known := seen[key]
	seen[key] = true
	p.seen <- seen
	if known {
		return connected{conn}, nil
	}
	p.all.Add(1)
	if err := p.contest.verify(ctx, conn, workspace); err != nil {
		stage.HangUp(conn)
		return nil, err
	}
	return connected{conn}, nil
}

func (p *pooled) made() uint64                { return p.all.Load() }
func (p *pooled) close(context.Context) error { return p.peer.stop() }
