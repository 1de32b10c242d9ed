package cloudsql_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/docs/examples/cloudsql"
	"github.com/tenantpool/tenantpool/docs/examples/internal/throwaway"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

func TestMain(m *testing.M) { throwaway.Main(m) }

// authority signs certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, pool: x509.NewCertPool()}
	self := a.sign(1)
	a.cert, a.key = self.Leaf, self.PrivateKey.(*ecdsa.PrivateKey)
	a.pool.AddCert(a.cert)
	return a
}

// sign returns a new certificate; the first is the authority's own.
func (a *authority) sign(serial int64) *tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"proxy"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IsCA: a.cert == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// proxy takes clients with the certificate that is good now, and leads them to the server.
type proxy struct {
	address string
	good    atomic.Int64 // the serial number
	led     atomic.Int64 // how many clients
}

func startProxy(t *testing.T, a *authority) *proxy {
	t.Helper()
	p := &proxy{}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{*a.sign(2)}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.pool,
		VerifyConnection: func(client tls.ConnectionState) error {
			if serial := client.PeerCertificates[0].SerialNumber.Int64(); serial != p.good.Load() {
				return fmt.Errorf("certificate %d is over", serial)
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	p.address = listener.Addr().String()
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go p.lead(client.(*tls.Conn))
		}
	}()
	return p
}

func (p *proxy) lead(client *tls.Conn) {
	defer client.Close()
	if client.Handshake() != nil {
		return
	}
	server, err := net.Dial("tcp", net.JoinHostPort(throwaway.Server.Host, strconv.Itoa(throwaway.Server.Port)))
	if err != nil {
		return
	}
	defer server.Close()
	p.led.Add(1)
	go func() {
		_, _ = io.Copy(server, client)
		_ = server.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(client, server)
}

func TestAllGoesThroughTheProxy(t *testing.T) {
	ctx := context.Background()
	a := newAuthority(t)
	p := startProxy(t, a)
	var current atomic.Pointer[tls.Certificate]
	rotate := func(serial int64) {
		p.good.Store(serial)
		current.Store(a.sign(serial))
	}
	rotate(10)
	cfg := throwaway.Config()
	cfg.Host = "database.invalid" // nobody knows the way but the hook
	manager := throwaway.OpenConfig(t, cfg, pools.WithHooks(pools.Hooks{
		BeforeConnect: cloudsql.BeforeConnect(p.address, &tls.Config{RootCAs: a.pool, ServerName: "proxy"},
			func(context.Context) (*tls.Certificate, error) { return current.Load(), nil }),
	}))
	w := throwaway.Workspace(t, manager)
	var before, after int
	if err := w.QueryRow(ctx, `SELECT pg_backend_pid()`).Scan(&before); err != nil {
		t.Fatal(err)
	}

	// A cancel request goes through as well: else the query would keep the connection.
	led := p.led.Load()
	soon, stop := context.WithTimeout(ctx, 100*time.Millisecond)
	defer stop()
	if _, err := w.Exec(soon, `SELECT pg_sleep(600)`); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if err := w.QueryRow(ctx, `SELECT pg_backend_pid()`).Scan(&after); err != nil || after != before {
		t.Errorf("connection %d is now %d (%v)", before, after, err)
	}
	if n := p.led.Load() - led; n != 1 {
		t.Errorf("%d connections for a cancel request", n)
	}

	// What is open stays so, and new ones have the new certificate.
	rotate(11)
	held, err := w.Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Release()
	if err := held.QueryRow(ctx, `SELECT pg_backend_pid()`).Scan(&after); err != nil || after != before {
		t.Errorf("connection %d is now %d (%v)", before, after, err)
	}
	if err := w.QueryRow(ctx, `SELECT pg_backend_pid()`).Scan(&after); err != nil || after == before {
		t.Errorf("there is still but one connection (%v)", err)
	}

	// A certificate that is over is refused, until there is another.
	p.good.Store(12)
	other := model.WorkspaceID("other")
	held.Release()
	if err := manager.CreateWorkspace(ctx, other); err != nil {
		t.Fatal(err)
	}
	impatient, stop := context.WithTimeout(ctx, time.Second)
	defer stop()
	if err := manager.Workspace(other).Ping(impatient); err == nil || !strings.Contains(err.Error(), "tls: bad certificate") {
		t.Error(err)
	}
	rotate(12)
	// Until the pause after the refused dial is over, that is everybody's answer.
	patient, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	for err = manager.Workspace(other).Ping(patient); err != nil && patient.Err() == nil; {
		err = manager.Workspace(other).Ping(patient)
	}
	if err != nil {
		t.Error(err)
	}
}
