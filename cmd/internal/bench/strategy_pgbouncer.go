package bench

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// pgBouncer is PgBouncer in transaction mode, with as many server connections as
// tenantpool's workspaces have and the same cap.
//
// Its clients are a pgxpool for each workspace, of as many connections as
// PgBouncer would serve at once. All of them are open before the requests come,
// so that no request pays for a login to PgBouncer; and so is what PgBouncer
// itself opens for them. A connection for each worker and workspace would be
// thousands, and serve no request sooner.
type pgBouncer struct{}

func (pgBouncer) label() string { return "pgbouncer" }

// open: where PgBouncer cannot run, the others still can.
func (pgBouncer) open(ctx context.Context, s *setting) (pool, error) {
	p, err := openBounced(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoTurn, err)
	}
	return p, nil
}

func openBounced(ctx context.Context, s *setting) (*bounced, error) {
	b, err := startBouncer(ctx, s)
	if err != nil {
		return nil, err
	}
	clients, err := openPgxpools(ctx, s, b.login(s.login))
	if err != nil {
		return nil, errors.Join(err, b.stop())
	}
	p := &bounced{clients, b}
	if err := p.connect(ctx, s.options.Cap); err != nil {
		return nil, errors.Join(err, p.close(ctx))
	}
	return p, nil
}

type bounced struct {
	*pgxpools
	bouncer *bouncer
}

// connect opens all client connections, a few workspaces at a time.
func (p *bounced) connect(ctx context.Context, each int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for workspace := range p.pools {
		group.Go(func() error {
			for range each {
				lease, err := p.acquire(ctx, workspace)
				if err != nil {
					return err
				}
				defer lease.release()
			}
			return nil
		})
	}
	return group.Wait()
}

func (p *bounced) made() uint64 { return p.bouncer.opened.Load() }

func (p *bounced) close(ctx context.Context) error {
	return errors.Join(p.pgxpools.close(ctx), p.bouncer.stop())
}
