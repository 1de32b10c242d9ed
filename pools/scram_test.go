package pools_test

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// role makes a role with a password as the server stores it, or in clear. (The
// names and passwords of these tests need no quotes inside.)
func role(t *testing.T, admin *sql.DB, name, password string) {
	t.Helper()
	drop := `DROP ROLE IF EXISTS ` + name
	statements(t, admin, drop, fmt.Sprintf(`CREATE ROLE %s LOGIN PASSWORD '%s'`, name, password))
	t.Cleanup(func() { statements(t, admin, drop) })
}

func statements(t *testing.T, db *sql.DB, list ...string) {
	t.Helper()
	for _, statement := range list {
		if _, err := db.ExecContext(context.Background(), statement); err != nil {
			t.Fatalf("%v in %.60s", err, statement)
		}
	}
}

func configAs(user, password string) model.Config {
	cfg := config(20)
	cfg.User, cfg.Password = user, password
	return cfg
}

// verifier is what PostgreSQL stores for a password (RFC 5803 has the form).
func verifier(t *testing.T, password string, iterations int) string {
	t.Helper()
	salt := []byte("salt of sixteen.")
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		t.Fatal(err)
	}
	mac := func(text string) []byte {
		h := hmac.New(sha256.New, salted)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	stored := sha256.Sum256(mac("Client Key"))
	encode := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, encode(salt), encode(stored[:]), encode(mac("Server Key")))
}

// redial closes the workspace's connection and opens another.
func redial(t *testing.T, m *manager, id model.WorkspaceID) error {
	t.Helper()
	if _, err := m.Evict(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	return m.Workspace(id).Ping(t.Context())
}

// iterations is PostgreSQL's own number of them.
const iterations = 4096

// keysComputed is how often the keys of a password were computed with that many sums.
func keysComputed(sums *atomic.Int64) int { return int(sums.Load() / (2 * iterations)) }

// dialTen dials ten databases, and fails unless that took one computation of keys.
func dialTen(t *testing.T, cfg model.Config, query string) {
	t.Helper()
	sums := pools.CountHashes(t)
	m := open(t, cfg)
	for i := range 10 {
		var ok bool
		if err := m.Workspace(workspaceID(i)).QueryRow(t.Context(), query).Scan(&ok); err != nil || !ok {
			t.Fatalf("%s: %v, %v", query, ok, err)
		}
	}
	if n := keysComputed(sums); n != 1 {
		t.Errorf("the keys were computed %d times", n)
	}
}

func TestAPasswordsKeysAreComputedOnceForAllDatabases(t *testing.T) {
	role(t, superuser(t), "patient", verifier(t, "s3cret", iterations))
	dialTen(t, configAs("patient", "s3cret"), `SELECT true`)
}

// scram_iterations of PostgreSQL 16 may be as low as 1.
func TestAPasswordMayHaveAnyNumberOfIterations(t *testing.T) {
	for _, n := range []int{1, 4096, 5000} {
		role(t, superuser(t), "rounds", verifier(t, "s3cret", n))
		m := open(t, configAs("rounds", "s3cret"))
		if err := m.Workspace("w0").Ping(t.Context()); err != nil {
			t.Errorf("%d: %v", n, err)
		}
	}
}

func wantRefused(t *testing.T, err error) {
	t.Helper()
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != "28P01" {
		t.Errorf("not the server's refusal (28P01): %v", err)
	}
	var dial *model.DialError
	if !errors.As(err, &dial) {
		t.Errorf("not a DialError: %v", err)
	}
}

func TestAPasswordThatChangesWhileRunningIsRefusedUntilItIsTheSameAgain(t *testing.T) {
	admin := superuser(t)
	role(t, admin, "changing", "first")
	m := open(t, configAs("changing", "first"))
	if err := redial(t, m, "w0"); err != nil {
		t.Fatal(err)
	}
	statements(t, admin, `ALTER ROLE changing PASSWORD 'second'`)
	wantRefused(t, redial(t, m, "w0"))
	statements(t, admin, `ALTER ROLE changing PASSWORD 'first'`) // with another salt
	eventually(t, "the old password works again", func() bool { return redial(t, m, "w0") == nil })
	if strings.Contains(m.log.String(), `"error":"first`) {
		t.Error("the log has the password")
	}
}

func TestAWrongPasswordIsTheServersRefusal(t *testing.T) {
	role(t, superuser(t), "careful", "right")
	err := openOnly(t, configAs("careful", "wrong"))
	wantRefused(t, err)
}

// SASLprep may change a password, or refuse it, and then PostgreSQL takes it as it is:
// for a letter that Unicode 3.2 did not have, or a control character. The login by
// one that is beyond ASCII is pgx's.
func TestPasswordsBeyondLettersAndDigitsLogIn(t *testing.T) {
	for _, password := range []string{"sp ace, =comma=", "grün", "gru\u0308n", "\U0001F418", "tab\tand\x7f", "~!@#$%^&*()"} {
		role(t, superuser(t), "peculiar", password)
		m := open(t, configAs("peculiar", password))
		if err := m.Workspace("w0").Ping(t.Context()); err != nil {
			t.Errorf("%q: %v", password, err)
		}
	}
}

// allow lets a role in by another method, without a restart, and only it.
func allow(t *testing.T, admin *sql.DB, role, method string) {
	t.Helper()
	statements(t, admin,
		fmt.Sprintf(`COPY (SELECT 'host all %s 127.0.0.1/32 %s') TO PROGRAM 'cp pg_hba.conf hba.before && cat - hba.before > pg_hba.conf'`, role, method),
		`SELECT pg_reload_conf()`)
	t.Cleanup(func() {
		statements(t, admin, `COPY (SELECT 1) TO PROGRAM 'cat > /dev/null; cp hba.before pg_hba.conf'`, `SELECT pg_reload_conf()`)
	})
	eventually(t, "the server has read "+method, func() bool {
		return count(t, admin, `SELECT count(*) FROM pg_hba_file_rules WHERE auth_method = $1`, method) == 1
	})
}

func TestOtherWaysToLogInAreLeftToPgx(t *testing.T) {
	admin := superuser(t)
	t.Run("md5", func(t *testing.T) {
		statements(t, admin, `SET password_encryption = md5`)
		role(t, admin, "oldish", "s3cret")
		statements(t, admin, `RESET password_encryption`)
		allow(t, admin, "oldish", "md5")
		m := openSoon(t, configAs("oldish", "s3cret"))
		if err := m.Workspace("w0").Ping(t.Context()); err != nil {
			t.Error(err)
		}
		err := openOnly(t, configAs("oldish", "wrong"))
		wantRefused(t, err)
	})
	t.Run("trust", func(t *testing.T) {
		role(t, admin, "trusted", "s3cret")
		allow(t, admin, "trusted", "trust")
		m := openSoon(t, configAs("trusted", "any"))
		if err := m.Workspace("w0").Ping(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("what PGREQUIREAUTH forbids", func(t *testing.T) {
		cfg := config(20)
		cfg.AcquireTimeout = failsSoon(t)
		t.Setenv("PGREQUIREAUTH", "md5")
		if err := openOnly(t, cfg); err == nil || !strings.Contains(err.Error(), "requirement") {
			t.Errorf("scram-sha-256 was used: %v", err)
		}
	})
	t.Run("what PGREQUIREAUTH allows", func(t *testing.T) {
		t.Setenv("PGREQUIREAUTH", "scram-sha-256")
		if err := open(t, config(20)).Workspace("w0").Ping(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
