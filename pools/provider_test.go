package pools_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// vault is a secret manager.
type vault struct {
	current atomic.Pointer[pools.Credentials]
	asked   atomic.Int64
}

func newVault(c pools.Credentials) *vault {
	v := &vault{}
	v.current.Store(&c)
	return v
}

func (v *vault) ask(context.Context) (pools.Credentials, error) {
	v.asked.Add(1)
	return *v.current.Load(), nil
}

func TestAPasswordThatChangesUnderTrafficFailsNoRequest(t *testing.T) {
	const clients, workspaces, slots = 24, 30, 10
	admin := superuser(t)
	role(t, admin, "rotating", "first")
	v := newVault(pools.Credentials{Password: "first"})
	cfg := configAs("rotating", "not used")
	cfg.SystemConnections = 5
	cfg.MaxConnections = slots + cfg.SystemConnections
	m := open(t, cfg, pools.WithCredentials(v.ask))
	var served, failed atomic.Int64
	var traffic sync.WaitGroup
	stop := make(chan struct{})
	for client := range clients {
		traffic.Go(func() {
			for i := client; ; i += 7 {
				select {
				case <-stop:
					return
				default:
				}
				var who string
				if err := m.Workspace(workspaceID(i%workspaces)).QueryRow(t.Context(), `SELECT session_user`).Scan(&who); err != nil || who != "rotating" {
					failed.Add(1)
					t.Errorf("as %q: %v", who, err)
				}
				served.Add(1)
			}
		})
	}
	since := func(n int64) func() bool { return func() bool { return served.Load() > n } }
	eventually(t, "there is traffic", since(100))
	for _, next := range []string{"second", "third"} {
		statements(t, admin, fmt.Sprintf(`ALTER ROLE rotating PASSWORD '%s'`, next))
		before := stats(t, m).Workspaces.Counters.DialFailures
		eventually(t, "the server refuses the former password", func() bool {
			return stats(t, m).Workspaces.Counters.DialFailures > before
		})
		v.current.Store(&pools.Credentials{Password: next})
		eventually(t, "the traffic goes on", since(served.Load()+200))
	}
	close(stop)
	traffic.Wait()
	t.Logf("%d served, %d failed, asked %d times, %d renewed", served.Load(), failed.Load(), v.asked.Load(), renewed(t, m))
	for _, secret := range []string{"first", "second", "third"} {
		if strings.Contains(m.log.String(), secret) {
			t.Errorf("the log has the password %q", secret)
		}
	}
}

func TestWhatRenewsConnections(t *testing.T) {
	admin := superuser(t)
	role(t, admin, "rotating", "first")
	role(t, admin, "other", "first")
	pools.RenewAgain(t, 0)
	v := newVault(pools.Credentials{Password: "first"})
	m := open(t, configAs("rotating", ""), pools.WithCredentials(v.ask))
	for i, step := range []struct {
		what   string
		answer pools.Credentials
		renews bool
	}{
		{"the same", pools.Credentials{Password: "first"}, false},
		{"another password", pools.Credentials{Password: "second"}, true},
		{"Config.User by its name", pools.Credentials{User: "rotating", Password: "second"}, false},
		{"a token", pools.Credentials{Password: "third", Temporary: true}, false},
		{"another user", pools.Credentials{User: "other", Password: "first", Temporary: true}, true},
	} {
		if err := m.Workspace("w0").Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		user := step.answer.User
		if user == "" {
			user = "rotating"
		}
		statements(t, admin, fmt.Sprintf(`ALTER ROLE %s PASSWORD '%s'`, user, step.answer.Password))
		before := renewed(t, m)
		v.current.Store(&step.answer)
		if err := m.Workspace(workspaceID(10 + i)).Ping(t.Context()); err != nil { // this dials
			t.Fatalf("%s: %v", step.what, err)
		}
		if step.renews {
			eventually(t, "the connection of before is closed after "+step.what, func() bool { return renewed(t, m) > before })
		}
		var who string
		if err := m.Workspace("w0").QueryRow(t.Context(), `SELECT session_user`).Scan(&who); err != nil || who != user && step.renews {
			t.Errorf("%s: as %q: %v", step.what, who, err)
		}
		if now := renewed(t, m); now > before != step.renews {
			t.Errorf("%s: %d connections were renewed", step.what, now-before)
		}
	}
}

// It would otherwise close every connection after its first use.
func TestAFunctionThatMakesAPasswordForEachDialRenewsOnceAMinute(t *testing.T) {
	statements(t, superuser(t), `CREATE ROLE trusted2 LOGIN`)
	t.Cleanup(func() { statements(t, superuser(t), `DROP ROLE trusted2`) })
	allow(t, superuser(t), "trusted2", "trust")
	var n atomic.Int64
	m := open(t, configAs("trusted2", ""), pools.WithCredentials(func(context.Context) (pools.Credentials, error) {
		return pools.Credentials{Password: fmt.Sprintf("token %d", n.Add(1))}, nil
	}))
	for range 3 {
		for i := range 10 {
			if err := m.Workspace(workspaceID(i)).Ping(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := strings.Count(m.log.String(), "credentials have changed"); got != 1 {
		t.Errorf("renewed %d times:\n%s", got, m.log)
	}
}

func TestWhatGoesWrongInTheFunctionFailsADialAndNoMore(t *testing.T) {
	const secret = "pa55w0rd"
	role(t, superuser(t), "asking", secret)
	errVault := errors.New("vault sealed")
	good := func(context.Context) (pools.Credentials, error) { return pools.Credentials{Password: secret}, nil }
	var ask atomic.Pointer[func(context.Context) (pools.Credentials, error)]
	ask.Store(&good)
	cfg := configAs("asking", "")
	cfg.DialTimeout = time.Minute
	m := open(t, cfg, pools.WithCredentials(func(ctx context.Context) (pools.Credentials, error) { return (*ask.Load())(ctx) }))
	for i, test := range []struct {
		what, says string
		bad        func(context.Context) (pools.Credentials, error)
	}{
		{"an error", "vault sealed, and the former one was [hidden]", func(context.Context) (pools.Credentials, error) {
			return pools.Credentials{}, fmt.Errorf("%w, and the former one was %s", errVault, secret)
		}},
		{"a panic", "it panicked: [hidden]", func(context.Context) (pools.Credentials, error) { panic(secret) }},
		{"a NUL", "a NUL byte", func(context.Context) (pools.Credentials, error) { return pools.Credentials{Password: "a\x00b"}, nil }},
		{"a wrong password", "28P01", func(context.Context) (pools.Credentials, error) { return pools.Credentials{Password: "wrong"}, nil }},
	} {
		id := workspaceID(20 + i)
		ask.Store(&test.bad)
		// It fails for want of time: long enough for one dial, which nobody knows how long takes.
		var err error
		for timeout := 200 * time.Millisecond; timeout < patience; timeout *= 2 {
			pools.SetAcquireTimeout(m.Manager, timeout)
			if err = m.Workspace(id).Ping(t.Context()); !errors.Is(err, model.ErrDialing) {
				break
			}
		}
		if err == nil || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", test.what, err)
		}
		var dial *model.DialError
		if !errors.As(err, &dial) || dial.Kind != model.Transient {
			t.Errorf("%s is not transient: %v", test.what, err)
		}
		if test.what == "an error" && !errors.Is(err, errVault) {
			t.Errorf("it does not wrap the function's error: %v", err)
		}
		ask.Store(&good)
		pools.SetAcquireTimeout(m.Manager, patience)
		if err := m.Workspace(id).Ping(t.Context()); err != nil {
			t.Errorf("after %s: %v", test.what, err)
		}
	}
	if strings.Contains(m.log.String(), secret) {
		t.Errorf("the log has the password:\n%s", m.log)
	}
}

// A dial that is called off leaves a function that does not look at its context behind.
func TestAFunctionThatNeverAnswersDoesNotKeepTheManagerFromClosing(t *testing.T) {
	answer := make(chan struct{})
	defer close(answer)
	log := &logBuffer{}
	m, err := pools.Open(t.Context(), config(20), pools.WithLogger(log.logger()), pools.WithLateServer(), pools.WithCredentials(
		func(context.Context) (pools.Credentials, error) {
			<-answer
			return pools.Credentials{}, nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	waiting, stop := context.WithCancel(t.Context())
	met := make(chan error, 1)
	go func() { met <- m.WaitForServer(waiting) }()
	eventually(t, "a dial is under way", func() bool {
		st, err := m.Stats(t.Context())
		return err == nil && st.System.Dialing == 1
	})
	closeManager(t, m)
	stop()
	if err := <-met; err == nil {
		t.Error("it was met")
	}
}

func TestThePasswordsFileIsReadByEachDial(t *testing.T) {
	admin := superuser(t)
	role(t, admin, "filed", "first")
	file := filepath.Join(t.TempDir(), "password")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg := configAs("filed", "")
	cfg.PasswordFile = file
	if err := openOnly(t, cfg); err == nil || !strings.Contains(err.Error(), "DB_PASSWORD_FILE") {
		t.Errorf("without the file: %v", err)
	}
	write("first")
	m := open(t, cfg)
	if err := m.Workspace("w0").Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	statements(t, admin, `ALTER ROLE filed PASSWORD 'second'`)
	write("second")
	if err := m.Workspace("w1").Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the connection of the first is closed", func() bool { return renewed(t, m) > 0 })
	if err := m.Workspace("w1").Ping(t.Context()); err != nil {
		t.Fatal(err)
	}

	write("third") // it is not the password, and SetCredentials says so
	pools.SetAcquireTimeout(m.Manager, 200*time.Millisecond)
	if err := m.SetCredentials(t.Context(), "filed", ""); err == nil {
		t.Error("a wrong password is taken")
	}
	pools.SetAcquireTimeout(m.Manager, patience)
	statements(t, admin, `ALTER ROLE filed PASSWORD 'third'`)
	before := renewed(t, m)
	if err := m.SetCredentials(t.Context(), "filed", ""); err != nil {
		t.Error(err)
	}
	if renewed(t, m) == before {
		t.Error("SetCredentials left connections of the second")
	}
	if err := m.SetCredentials(t.Context(), "filed", "third"); err == nil || !strings.Contains(err.Error(), "set none") {
		t.Errorf("a password besides: %v", err)
	}
}

func TestCredentialsPrintWithoutTheirPassword(t *testing.T) {
	c := pools.Credentials{User: "app", Password: "s3cret"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if text := fmt.Sprintf(verb, c); strings.Contains(text, "s3cret") || !strings.Contains(text, "app") {
			t.Errorf("%s: %s", verb, text)
		}
	}
}
