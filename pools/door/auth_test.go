package door_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/pools/door"
)

// authority signs certificates for a test.
type authority struct {
	t           *testing.T
	dir         string
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.certificate, a.key = a.sign("authority", nil)
	return a
}

// sign writes <name>.crt and <name>.key.
func (a *authority) sign(name string, by *authority) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: by == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.certificate, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for ending, block := range map[string]*pem.Block{".crt": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(a.path(name+ending), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return certificate, key
}

func (a *authority) path(file string) string { return filepath.Join(a.dir, file) }

func TestTLSWithPasswordsCertificatesAndReload(t *testing.T) {
	a := newAuthority(t)
	a.sign("door", a)
	a.sign("by-cert", a)
	a.sign("stranger", a)
	stranger := newAuthority(t)
	stranger.sign("by-cert", stranger)
	certificates, err := door.ReadCertificates(a.path("door.crt"), a.path("door.key"), a.path("authority.crt"))
	if err != nil {
		t.Fatal(err)
	}
	file := a.path("users")
	if err := os.WriteFile(file, []byte(users+"\"by-cert\" cert workspaces=w1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := door.ReadUsers(file)
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, 2, door.Options{Certificates: certificates, RequireTLS: true, Users: list})
	dsn := func(user, more string) string {
		return fmt.Sprintf("postgres://%s:secret@%s/w1?sslmode=verify-full&sslrootcert=%s&%s", user, s.address, a.path("authority.crt"), more)
	}
	for _, c := range []struct{ user, more, want string }{
		{"app", "", ""}, {"app", "channel_binding=require", ""},
		{"by-cert", "sslcert=" + a.path("by-cert.crt") + "&sslkey=" + a.path("by-cert.key"), ""},
		{"by-cert", "", "28000"},
		{"by-cert", "sslcert=" + a.path("stranger.crt") + "&sslkey=" + a.path("stranger.key"), "28000"},
		{"app", "sslcert=" + a.path("by-cert.crt") + "&sslkey=" + a.path("by-cert.key"), ""},
	} {
		conn, err := pgx.Connect(t.Context(), dsn(c.user, c.more))
		switch {
		case err != nil && state(err) != c.want:
			t.Errorf("%s %s: %v", c.user, c.more, err)
		case err == nil && c.want != "":
			t.Errorf("%s %s came in", c.user, c.more)
		case err == nil:
			exec1(t, conn)
		}
	}
	if _, err := pgx.Connect(t.Context(), dsn("by-cert", "sslcert="+stranger.path("by-cert.crt")+"&sslkey="+stranger.path("by-cert.key"))); err == nil {
		t.Error("a certificate of another authority let somebody in")
	}
	if psql, err := osexec.LookPath("psql"); err == nil {
		command := osexec.CommandContext(t.Context(), psql, "-XAtc", "SELECT 'in'", fmt.Sprintf("host=127.0.0.1 port=%s user=app dbname=w1 sslmode=verify-ca sslrootcert=%s channel_binding=require",
			s.address[strings.LastIndex(s.address, ":")+1:], a.path("authority.crt")))
		command.Env = append(os.Environ(), "PGPASSWORD=secret")
		if out, err := command.CombinedOutput(); err != nil || string(out) != "in\n" {
			t.Errorf("psql: %s %v", out, err)
		}
	}
	// A new certificate is for who comes after; a bad one changes nothing.
	serial := func() *big.Int {
		conn, err := pgx.Connect(t.Context(), dsn("app", ""))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(t.Context()) }()
		return conn.PgConn().Conn().(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber
	}
	before := serial()
	a.sign("door", a)
	if err := certificates.Reload(); err != nil {
		t.Fatal(err)
	}
	if serial().Cmp(before) == 0 {
		t.Error("the certificate is the old one")
	}
	if err := os.WriteFile(a.path("door.crt"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := certificates.Reload(); err == nil {
		t.Error("nonsense was taken")
	}
	serial()
}

// exec1 uses a connection, and closes it.
func exec1(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	exec(t, conn, "SELECT 1")
	_ = conn.Close(t.Context())
}

func TestATokenOpensWhatItNames(t *testing.T) {
	good := map[string]door.Grant{
		"good":    {User: "billing", Workspaces: []string{"w1", "w2"}, Until: time.Now().Add(time.Hour)},
		"ended":   {User: "billing", Workspaces: []string{"w1"}, Until: time.Now().Add(-time.Second)},
		"console": {User: "ops", Console: door.Viewer},
	}
	s := open(t, 2, door.Options{Tokens: func(token string) (door.Grant, error) {
		if grant, ok := good[token]; ok {
			return grant, nil
		}
		return door.Grant{}, errors.New("no such token")
	}})
	for _, c := range []struct{ token, database, want string }{
		{"good", "w1", ""}, {"good", "w3", "42501"}, {"good", "tenantpool", "42501"}, {"bad", "w1", "28P01"}, {"console", "w1", "42501"},
	} {
		config, err := pgx.ParseConfig(s.dsn("token", c.database, ""))
		if err != nil {
			t.Fatal(err)
		}
		config.Password = c.token
		conn, err := pgx.ConnectConfig(t.Context(), config)
		switch {
		case err == nil && c.want == "":
			exec1(t, conn)
		case err == nil || state(err) != c.want:
			t.Errorf("%s and %s: %v", c.token, c.database, err)
		}
	}
	config, err := pgx.ParseConfig(s.dsn("token", "w1", ""))
	if err != nil {
		t.Fatal(err)
	}
	config.Password = "ended"
	if conn, err := pgx.ConnectConfig(t.Context(), config); err == nil {
		if _, err := conn.Exec(t.Context(), "SELECT 1"); state(err) != "28000" {
			t.Errorf("after the end of its token: %v", err)
		}
	} else if state(err) != "28000" {
		t.Error(err)
	}
}

func TestUsersOfAQuery(t *testing.T) {
	admin, err := pgx.Connect(t.Context(), server.SuperuserDSN())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = admin.Close(t.Context()) }()
	exec(t, admin, `CREATE TABLE IF NOT EXISTS door_users (name text, secret text, workspaces text[])`)
	exec(t, admin, `GRANT SELECT ON door_users TO PUBLIC`)
	exec(t, admin, `DELETE FROM door_users`)
	exec(t, admin, `SET password_encryption = 'scram-sha-256'`)
	exec(t, admin, `DROP ROLE IF EXISTS stored_secret; CREATE ROLE stored_secret PASSWORD 'secret'`)
	exec(t, admin, `INSERT INTO door_users SELECT 'queried', rolpassword, '{w1,w2}' FROM pg_authid WHERE rolname = 'stored_secret'`)
	s := open(t, 1, door.Options{})
	s2 := open(t, 1, door.Options{Users: door.QueryUsers(s.manager, "SELECT secret, workspaces FROM public.door_users WHERE name = $1")})
	conn, err := pgx.Connect(t.Context(), s2.dsn("queried", "w2", "search_path=evil"))
	if err != nil {
		t.Fatal(err)
	}
	exec1(t, conn)
	for _, c := range [][3]string{{"queried", "w3", "42501"}, {"app", "w1", "28P01"}} {
		if _, err := pgx.Connect(t.Context(), s2.dsn(c[0], c[1], "")); state(err) != c[2] {
			t.Errorf("%v: %v", c, err)
		}
	}
}

func TestABadFileOfUsersIsRefusedAsAWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	bad := `"a" "hunter2"
"b" "hunter2" workspaces=
"c" "md5aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" workspaces=*
"d" hunter2 workspaces=*
d "hunter2" workspaces=*
"e" "hunter2" workspaces=* console=god
"f" "SCRAM-SHA-256$4096:hunter2" workspaces=*
"token" "hunter2" workspaces=*
"g" "hunter2" workspaces=a[b
"h" "hunter2" workspaces=a workspaces=b
"good" "hunter2" workspaces=*
"good" "hunter2" workspaces=*
`
	if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := door.ReadUsers(path)
	if err == nil {
		t.Fatal("it was taken")
	}
	for _, line := range []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12} {
		if !strings.Contains(err.Error(), fmt.Sprintf("line %d:", line)) {
			t.Errorf("line %d is not named", line)
		}
	}
	if strings.Contains(err.Error(), "line 11:") || strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
}
