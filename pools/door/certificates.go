package door

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
)

// Certificates are what the door shows under TLS, and whose clients' certificates it takes.
// They are read from files, and may be read again while the door is open.
type Certificates struct {
	cert, key, clientCA string
	config              atomic.Pointer[tls.Config]
}

// ReadCertificates reads a certificate and its key, in PEM. With clientCA, a file of
// certificates in PEM, a client may show a certificate of one of those authorities, by which
// users whose secret is "cert" come in; "": no client's certificate counts.
func ReadCertificates(cert, key, clientCA string) (*Certificates, error) {
	c := &Certificates{cert: cert, key: key, clientCA: clientCA}
	if err := c.Reload(); err != nil {
		return nil, err
	}
	return c, nil
}

// Reload reads the files again, for clients that come from now on. If it fails nothing
// changes.
func (c *Certificates) Reload() error {
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("door: the certificate %s with the key %s: %w", c.cert, c.key, err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"postgresql"}}
	if c.clientCA != "" {
		pem, err := os.ReadFile(c.clientCA)
		if err != nil {
			return fmt.Errorf("door: the authorities of clients' certificates: %w", err)
		}
		config.ClientCAs = x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("door: the authorities of clients' certificates: %w", errors.New(c.clientCA+" has no certificate in PEM"))
		}
		config.ClientAuth = tls.VerifyClientCertIfGiven
	}
	c.config.Store(config)
	return nil
}

// Config is that of connections from now on. It must not be changed.
func (c *Certificates) Config() *tls.Config { return c.config.Load() }

// leaf is the door's own certificate, in DER.
func (c *Certificates) leaf(config *tls.Config) []byte { return config.Certificates[0].Certificate[0] }
