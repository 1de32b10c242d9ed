package pools

import (
	"context"
	"fmt"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/model"
)

// renameDatabase repeats the statement while the old name is in use: autovacuum leaves
// when it is asked to.
func (m *Manager) renameDatabase(ctx context.Context, from, to string) error {
	err := m.administer(ctx, "ALTER DATABASE "+pgx.Identifier{from}.Sanitize()+" RENAME TO "+pgx.Identifier{to}.Sanitize())
	switch {
	case hasCode(err, pgerrcode.DuplicateDatabase, pgerrcode.UniqueViolation):
		return exists(to)
	case hasCode(err, pgerrcode.InvalidCatalogName):
		return fmt.Errorf("%w (%q)", model.ErrNoWorkspace, from)
	}
	return err
}
