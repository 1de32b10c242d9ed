package pools_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// certificate is one that nobody has signed but itself.
func certificate(t *testing.T, change ...func(*x509.Certificate)) (pair tls.Certificate, certPEM, keyPEM string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotAfter: time.Now().Add(time.Hour)}
	for _, f := range change {
		f(template)
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	c := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	k := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	if pair, err = tls.X509KeyPair(c, k); err != nil {
		t.Fatal(err)
	}
	return pair, string(c), string(k)
}

// speakTLS lets the server offer TLS for this test.
func speakTLS(t *testing.T, admin *sql.DB) {
	t.Helper()
	_, cert, key := certificate(t)
	for name, text := range map[string]string{"server.crt": cert, "server.key": key} {
		statements(t, admin, fmt.Sprintf(
			`COPY (SELECT unnest(string_to_array('%s', E'\n'))) TO PROGRAM 'umask 077; cat > %s'`, text, name))
	}
	statements(t, admin, `ALTER SYSTEM SET ssl = on`, `SELECT pg_reload_conf()`)
	t.Cleanup(func() { statements(t, admin, `ALTER SYSTEM RESET ssl`, `SELECT pg_reload_conf()`) })
	eventually(t, "the server speaks TLS", func() bool {
		conn, err := dialTLS()
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
}

var sslRequest = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, 8), 80877103)

// dialTLS connects to the server, whoever that is.
func dialTLS() (net.Conn, error) {
	conn, err := net.Dial("tcp", net.JoinHostPort(server.Host, strconv.Itoa(server.Port)))
	if err != nil {
		return nil, err
	}
	yes := make([]byte, 1)
	if _, err = conn.Write(sslRequest); err == nil {
		_, err = io.ReadFull(conn, yes)
	}
	if err != nil || yes[0] != 'S' {
		_ = conn.Close()
		return nil, fmt.Errorf("it says %q (%v)", yes, err)
	}
	return tls.Client(conn, &tls.Config{InsecureSkipVerify: true}), nil
}

func TestTheKeysAreComputedOnceWithTLSToo(t *testing.T) {
	admin := superuser(t)
	speakTLS(t, admin)
	role(t, admin, "patient", verifier(t, "s3cret", iterations))
	for _, mode := range []string{"require", "prefer"} {
		cfg := configAs("patient", "s3cret")
		cfg.SSLMode = mode
		dialTen(t, cfg, `SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()`)
	}
}

// Somebody in between who has another certificate, which sslmode=require does not
// look at, is found out by the exchange, also when he tells the client that the
// server does not bind it to the certificate.
func TestSomebodyInBetweenIsFoundOut(t *testing.T) {
	speakTLS(t, superuser(t))
	for name, hides := range map[string]bool{"who listens": false, "who hides the binding": true} {
		t.Run(name, func(t *testing.T) {
			cfg := config(20)
			cfg.SSLMode = "require"
			cfg.Host, cfg.Port = "127.0.0.1", startInBetween(t, hides)
			err := openOnly(t, cfg)
			if err == nil || !strings.Contains(err.Error(), "channel binding") {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestTheChannelBindingThatIsAskedForIsLeftToPgx(t *testing.T) {
	speakTLS(t, superuser(t))
	soon := failsSoon(t)
	for binding, mode := range map[string]string{"require": "require", "disable": "require", "prefer": "require"} {
		t.Setenv("PGCHANNELBINDING", binding)
		cfg := config(20)
		cfg.SSLMode = mode
		if err := openOnly(t, cfg); err != nil {
			t.Errorf("%s: %v", binding, err)
		}
	}
	t.Setenv("PGCHANNELBINDING", "require")
	cfg := config(20) // without TLS
	cfg.AcquireTimeout = soon
	if err := openOnly(t, cfg); err == nil || !strings.Contains(err.Error(), "channel binding") {
		t.Errorf("without TLS: %v", err)
	}
}

// startInBetween ends the TLS of clients and begins another with the server; what
// goes through it can read.
func startInBetween(t *testing.T, hidesBinding bool) (port int) {
	t.Helper()
	pair, _, _ := certificate(t)
	return listen(t, func(raw net.Conn) {
		var copying sync.WaitGroup
		defer copying.Wait() // after all is closed
		defer raw.Close()
		if _, err := io.ReadFull(raw, make([]byte, len(sslRequest))); err != nil {
			return
		}
		_, _ = raw.Write([]byte("S"))
		client := tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{pair}})
		server, err := dialTLS()
		if err != nil {
			return
		}
		defer server.Close()
		copying.Go(func() {
			_, _ = io.Copy(server, client)
			_ = server.Close()
		})
		if hidesBinding {
			message, err := pgproto3.NewFrontend(server, nil).Receive()
			if offer, ok := message.(*pgproto3.AuthenticationSASL); ok && err == nil {
				offer.AuthMechanisms = plainOnly
				encoded, _ := offer.Encode(nil)
				_, _ = client.Write(encoded)
			}
		}
		_, _ = io.Copy(client, server)
	}).Port
}
