package pooltest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// comesHomeWithin is how long a lease may last beyond the end of its test: a handler
// that has just answered is about to release its connection.
const comesHomeWithin = time.Second

// closesWithin bounds waiting for a server that closes connections.
const closesWithin = time.Minute

// leaked says of a lease that it did not end.
func leaked(l model.Lease) string {
	where := l.AcquiredAt
	if where == "" {
		where = "(unknown: Config.LeaseTracing is off)"
	}
	return fmt.Sprintf("pooltest: a connection of workspace %q was not released; release it, or close the rows, row, batch or transaction that holds it. It was acquired at\n%s",
		l.Workspace, where)
}

// lent returns the leases that want picks, or none if the manager is closed.
func lent(m *pools.Manager, want func(model.Lease) bool) []model.Lease {
	leases, err := m.Leases(context.Background())
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(leases, func(l model.Lease) bool { return !want(l) })
}

// untilHome has closed end what waits for all leases of a manager. Its error is about the
// leases that are still lent after comesHomeWithin. Without any, the server may take its
// time.
func untilHome(ctx context.Context, m *pools.Manager, closed func(context.Context) error) error {
	soon, stop := context.WithTimeout(ctx, comesHomeWithin)
	err := closed(soon)
	stop()
	if err == nil {
		return nil
	}
	var all []error
	for _, l := range lent(m, func(model.Lease) bool { return true }) {
		all = append(all, errors.New(leaked(l)))
	}
	if len(all) > 0 {
		return errors.Join(all...)
	}
	later, stop := context.WithTimeout(ctx, closesWithin)
	defer stop()
	return closed(later)
}
