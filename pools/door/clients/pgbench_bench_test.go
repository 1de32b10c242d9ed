package clients

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// BenchmarkPgbench runs pgbench -S through the door and through PgBouncer in turns, on one
// database and 20 connections, and reports the median of their ratio. A round is two seconds
// of each: use -benchtime 3x or so.
func BenchmarkPgbench(b *testing.B) {
	bouncer := "/usr/sbin/pgbouncer"
	if found, err := exec.LookPath("pgbouncer"); err == nil {
		bouncer = found
	}
	pgbench, err := exec.LookPath("pgbench")
	if _, missing := os.Stat(bouncer); err != nil || missing != nil {
		b.Skip("pgbench or PgBouncer is not installed")
	}
	const database = "benched"
	_, doorPort := openDoorFor(b, "transaction", 20)
	bouncerPort := benchBouncer(b, bouncer)
	run := func(b *testing.B, port int, args ...string) float64 {
		b.Helper()
		command := exec.CommandContext(b.Context(), pgbench, append([]string{"-h", "127.0.0.1", "-p", strconv.Itoa(port), "-U", server.User}, append(args, database)...)...)
		command.Env = append(os.Environ(), "PGPASSWORD="+server.Password, "PGSSLMODE=disable")
		out, err := command.CombinedOutput()
		if err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
		found := regexp.MustCompile(`tps = ([0-9.]+)`).FindSubmatch(out)
		if found == nil {
			return 0
		}
		tps, _ := strconv.ParseFloat(string(found[1]), 64)
		return tps
	}
	if err := server.CreateDatabases(b.Context(), database); err != nil {
		b.Fatal(err)
	}
	run(b, server.Port, "-i", "-s", "5", "-q")
	for _, mode := range []string{"simple", "extended"} {
		for _, clients := range []int{1, 10, 50} {
			b.Run(fmt.Sprintf("%s/clients=%d", mode, clients), func(b *testing.B) {
				var ratios, own []float64
				args := []string{"-n", "-S", "-T", "2", "-M", mode, "-c", strconv.Itoa(clients), "-j", strconv.Itoa(min(clients, 2))}
				for range b.N {
					theirs, ours := run(b, bouncerPort, args...), run(b, doorPort, args...)
					ratios, own = append(ratios, ours/theirs), append(own, ours)
				}
				slices.Sort(ratios)
				slices.Sort(own)
				b.ReportMetric(ratios[len(ratios)/2], "door/pgbouncer")
				b.ReportMetric(own[len(own)/2], "transactions/s")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// benchBouncer starts a PgBouncer with as many.
func benchBouncer(b *testing.B, program string) (port int) {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	port = listener.Addr().(*net.TCPAddr).Port
	_ = listener.Close()
	folder := b.TempDir()
	ini := fmt.Sprintf(`[databases]
* = host=%s port=%d user=%s password=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 20
log_connections = 0
log_disconnections = 0
`, server.Host, server.Port, server.User, server.Password, port)
	file := filepath.Join(folder, "pgbouncer.ini")
	if err := os.WriteFile(file, []byte(ini), 0o644); err != nil {
		b.Fatal(err)
	}
	for dir := folder; dir != filepath.Clean(os.TempDir()) && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			b.Fatal(err)
		}
	}
	command := exec.Command(program, file)
	if os.Getuid() == 0 { // it refuses root
		const nobody = 65534
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	if err := command.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = conn.Close()
			return port
		}
		if time.Now().After(deadline) {
			b.Fatal("PgBouncer does not listen: ", err)
		}
	}
}
