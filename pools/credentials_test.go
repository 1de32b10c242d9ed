//go:build unix

package pools_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// renewed is how many connections to workspaces were closed for new ones.
func renewed(t *testing.T, m *manager) uint64 {
	t.Helper()
	return stats(t, m).Workspaces.Counters.Closes[model.Renewed]
}

func TestOnlyCredentialsThatHaveChangedRenewConnections(t *testing.T) {
	admin := superuser(t)
	role(t, admin, "rotating", "s3cret")
	roots := filepath.Join(t.TempDir(), "roots.pem")
	write := func() {
		_, cert, _ := certificate(t)
		if err := os.WriteFile(roots, []byte(cert), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write()
	t.Setenv("PGSSLROOTCERT", roots)
	cfg := configAs("rotating", "s3cret")
	cfg.SSLMode = "prefer"
	m := open(t, cfg)
	for i, step := range []struct {
		what, password string
		change         func()
		works, renews  bool
	}{
		{what: "nothing changed", password: "s3cret", works: true},
		{what: "a wrong password", password: "wrong"},
		{what: "another password", password: "n3w", works: true, renews: true, change: func() { statements(t, admin, `ALTER ROLE rotating PASSWORD 'n3w'`) }},
		{what: "the same again", password: "n3w", works: true},
		{what: "another file of authorities", password: "n3w", works: true, renews: true, change: write},
		{what: "the same as well", password: "n3w", works: true},
	} {
		if err := m.Workspace("w0").Ping(t.Context()); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		if step.change != nil {
			step.change()
		}
		before := renewed(t, m)
		if err := m.SetCredentials(t.Context(), "rotating", step.password); (err == nil) != step.works {
			t.Errorf("%s: %v", step.what, err)
		}
		if renews := renewed(t, m) > before; renews != step.renews {
			t.Errorf("%s: renewed %v", step.what, renews)
		}
		if err := m.Workspace(workspaceID(10 + i)).Ping(t.Context()); err != nil { // nobody has asked for it before
			t.Errorf("%s: %v", step.what, err)
		}
	}
	if strings.Contains(m.log.String(), "The server's catalogue was not asked") {
		t.Errorf("the manager's own login does not work:\n%s", m.log)
	}
}

// The caller would say that they are not in use.
func TestCredentialsAreInUseAlthoughAConnectionIsSlowToClose(t *testing.T) {
	admin := superuser(t)
	role(t, admin, "rotating", "s3cret")
	m := open(t, configAs("rotating", "s3cret"))
	thaw := freeze(t, idle(t, m.Workspace("w0"), 1)[0])
	statements(t, admin, `ALTER ROLE rotating PASSWORD 'n3w'`)
	ctx, stop := context.WithTimeout(t.Context(), failsSoon(t))
	defer stop()
	if err := m.SetCredentials(ctx, "rotating", "n3w"); err != nil {
		t.Error(err)
	}
	m.log.line(t, `"level":"WARN"`, "The credentials are changed", "not all of its connections are closed yet")
	thaw()
	if err := m.Workspace("w0").Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

// What the server has taken is in use, whenever it is met.
func TestNoCredentialsAreTakenUntriedWhileTheServerIsMet(t *testing.T) {
	cfg := config(20)
	port, silent, goOn := startSilent(t, false)
	cfg.Host, cfg.Port = "127.0.0.1", port
	m := open(t, cfg, pools.WithLateServer())
	met, set := make(chan error, 1), make(chan error, 1)
	go func() { met <- m.WaitForServer(t.Context()) }()
	<-silent
	go func() { set <- m.SetCredentials(t.Context(), cfg.User, "wrong") }()
	select {
	case err := <-set:
		t.Fatalf("they are taken: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	goOn()
	if err := <-met; err != nil {
		t.Fatal(err)
	}
	if err := <-set; err == nil {
		t.Error("a wrong password is taken")
	}
	if err := m.Workspace("w0").Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCredentialsSetBeforeTheServerAnswersAreThoseItIsMetWith(t *testing.T) {
	cfg := config(20)
	password := cfg.Password
	cfg.Password = "wrong"
	m := open(t, cfg, pools.WithLateServer())
	if err := m.WaitForServer(t.Context()); err == nil {
		t.Fatal("a wrong password works")
	}
	if err := m.SetCredentials(t.Context(), cfg.User, password); err != nil {
		t.Fatal(err)
	}
	if err := m.WaitForServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.Workspace("w0").Ping(t.Context()); err != nil {
		t.Error(err)
	}
}
