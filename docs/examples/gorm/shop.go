// Package gorm keeps orders with GORM, each workspace's in its own database.
package gorm

import (
	"context"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/tenantpool/tenantpool/pools"
)

// Order is a row of orders.
type Order struct {
	ID    int64
	Item  string `gorm:"uniqueIndex"`
	Lines []Line
}

// Line is a row of lines.
type Line struct {
	ID       int64
	OrderID  int64
	Quantity int
}

// Shop is for all workspaces: GORM reads its models once.
type Shop struct{ base *gorm.DB }

// New makes a Shop, which connects to nothing yet.
func New(manager *pools.Manager) (*Shop, error) {
	base, err := gorm.Open(postgres.New(postgres.Config{Conn: manager.System().DB()}), &gorm.Config{
		DisableAutomaticPing: true,
		TranslateError:       true,
		Logger:               logger.Discard,
		// Leave PrepareStmt off: its statements would be those of the first workspace.
	})
	return &Shop{base}, err
}

// In is the shop of one workspace, for one request.
func (s *Shop) In(ctx context.Context, workspace *pools.Workspace) *gorm.DB {
	db := s.base.Session(&gorm.Session{NewDB: true, Context: ctx})
	db.Statement.ConnPool = workspace.DB()
	return db
}

// Single is for a program that would rather have a *gorm.DB for each workspace. It must
// not be closed: the *sql.DB under it belongs to the Manager.
func Single(workspace *pools.Workspace) (*gorm.DB, error) {
	return gorm.Open(postgres.New(postgres.Config{Conn: workspace.DB()}), &gorm.Config{Logger: logger.Discard})
}
