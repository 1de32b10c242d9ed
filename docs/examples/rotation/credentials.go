// Package rotation logs in with a password that somebody else changes.
package rotation

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/tenantpool/tenantpool/pools"
)

// Vault is a secret manager's client.
type Vault interface {
	Secret(ctx context.Context, name string) (string, error)
}

// Credentials is for pools.WithCredentials: the password is the vault's secret of this
// name, which is asked for again when it is older than fresh; dials at that moment may
// ask more than once. As long as the server refuses the password dials are repeated, so
// after a rotation requests that need a new connection wait for fresh at most, and
// Config.AcquireTimeout has to be longer.
func Credentials(vault Vault, name string, fresh time.Duration) func(context.Context) (pools.Credentials, error) {
	type secret struct {
		password string
		until    time.Time
	}
	var known atomic.Pointer[secret]
	return func(ctx context.Context) (pools.Credentials, error) {
		s := known.Load()
		if s == nil || time.Now().After(s.until) {
			password, err := vault.Secret(ctx, name)
			if err != nil {
				return pools.Credentials{}, err
			}
			s = &secret{password, time.Now().Add(fresh)}
			known.Store(s)
		}
		return pools.Credentials{Password: s.password}, nil
	}
}
