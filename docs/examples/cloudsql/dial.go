// Package cloudsql reaches the server through a proxy that wants a client certificate of
// a few minutes, as Cloud SQL's connector does.
package cloudsql

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/model"
)

// BeforeConnect is for pools.Hooks: connections, and the requests that cancel queries, go
// to the proxy at this address over TLS, each with the certificate of its moment. Config's
// Host is a name that nobody looks up, and its SSLMode is disable: the tunnel encrypts.
//
// A connection outlives its certificate; use DB_CONNECTION_MAX_LIFETIME if it must not.
func BeforeConnect(proxy string, security *tls.Config, certificate func(context.Context) (*tls.Certificate, error)) func(context.Context, model.WorkspaceID, *pgx.ConnConfig) error {
	security = security.Clone()
	security.GetClientCertificate = func(asked *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return certificate(asked.Context())
	}
	tunnel := &tls.Dialer{Config: security}
	return func(_ context.Context, _ model.WorkspaceID, config *pgx.ConnConfig) error {
		config.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
		config.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return tunnel.DialContext(ctx, "tcp", proxy)
		}
		return nil
	}
}
