package pools

import (
	"context"
	"maps"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// addresses remembers a host's addresses for a moment, so that hundreds of dials a
// second do not ask the name server each. A host that moves is followed as soon as
// the moment is over. Errors are not remembered.
type addresses struct {
	lookup pgconn.LookupFunc
	// known is by host, and never changed: whoever learns more puts another in its
	// place. A host is one of DB_HOST.
	known atomic.Pointer[map[string]found]
}

type found struct {
	addresses []string
	until     time.Time
}

// addressesFor is how long a host that moved may still be looked for where it was.
const addressesFor = time.Second

// find is a pgconn.LookupFunc.
func (a *addresses) find(ctx context.Context, host string) ([]string, error) {
	known := a.known.Load()
	if known != nil {
		if f, ok := (*known)[host]; ok && time.Now().Before(f.until) {
			return f.addresses, nil
		}
	}
	list, err := a.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	more := map[string]found{}
	if known != nil {
		more = maps.Clone(*known)
	}
	more[host] = found{list, time.Now().Add(addressesFor)}
	a.known.CompareAndSwap(known, &more) // or somebody else has just asked
	return list, nil
}
