package pools

import (
	"context"
	"log/slog"
	"slices"

	"github.com/jackc/pgerrcode"
)

// Catalogue is one that asks somebody else than a server.
type Catalogue struct{ c *catalogue }

func StartCatalogue(look func(context.Context, []string) (missing []string, err error)) *Catalogue {
	return &Catalogue{startCatalogue(func(ctx context.Context, names []string) (map[string]*dialFailure, error) {
		missing, err := look(ctx, slices.Clone(names))
		refused := make(map[string]*dialFailure)
		for _, name := range missing {
			refused[name] = saidOf(name, pgerrcode.InvalidCatalogName, "%q is missing")
		}
		return refused, err
	}, newSparseLog(slog.New(slog.DiscardHandler)))}
}

func (c *Catalogue) Ask(ctx context.Context, name string) error {
	refused, err := c.c.ask(ctx, name)
	if refused != nil {
		return refused
	}
	return err
}

func (c *Catalogue) Forget(name string) { c.c.forget(name) }
func (c *Catalogue) Stop()              { c.c.stop() }

// ReplaceCatalogue gives a manager that is not in use one that asks somebody else.
func ReplaceCatalogue(m *Manager, look func(context.Context, []string) (missing []string, err error)) {
	m.catalogue.stop()
	m.catalogue = StartCatalogue(look).c
}

// RecentNames is the catalogue's memory.
type RecentNames struct{ names recent[string, struct{}] }

func (r *RecentNames) Add(name string)      { r.names.add(name, struct{}{}) }
func (r *RecentNames) Has(name string) bool { _, ok := r.names.get(name); return ok }
func (r *RecentNames) Len() int             { return len(r.names.young) + len(r.names.old) }
