package migrating_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
)

type ConnectionManager interface {
	GetSystemConnection() *sql.DB
	GetWorkspaceConnection(ctx context.Context, workspaceID string) (*sql.DB, error)
	CloseWorkspaceConnection(workspaceID string) error
	GetStats() ConnectionStats
	Close() error
}

type ConnectionStats struct {
	MaxConnections       int
	OpenConnections      int
	InUse                int
	WorkspaceConnections map[string]int
}

type HandWritten struct {
	connString func(workspaceID string) string
	system     *sql.DB
	max        int // pools of workspaces, of two connections each

	mu         sync.Mutex
	workspaces map[string]*sql.DB
	lastUsed   map[string]time.Time
}

func (m *HandWritten) GetSystemConnection() *sql.DB { return m.system }

func (m *HandWritten) GetWorkspaceConnection(ctx context.Context, workspaceID string) (*sql.DB, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lastUsed[workspaceID] = time.Now()
	if db, ok := m.workspaces[workspaceID]; ok {
		return db, nil
	}
	if len(m.workspaces) >= m.max && !m.closeLeastRecentlyUsed() {
		return nil, errors.New("all connections are in use")
	}
	db, err := sql.Open("pgx", m.connString(workspaceID))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(2)
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("connect to workspace %s: %w", workspaceID, err), db.Close())
	}
	m.workspaces[workspaceID] = db
	return db, nil
}

func (m *HandWritten) closeLeastRecentlyUsed() bool {
	var oldest string
	for id, db := range m.workspaces {
		if db.Stats().InUse == 0 && (oldest == "" || m.lastUsed[id].Before(m.lastUsed[oldest])) {
			oldest = id
		}
	}
	if oldest == "" {
		return false
	}
	_ = m.workspaces[oldest].Close()
	delete(m.workspaces, oldest)
	return true
}

func (m *HandWritten) CloseWorkspaceConnection(workspaceID string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	db, ok := m.workspaces[workspaceID]
	if !ok {
		return nil
	}
	delete(m.workspaces, workspaceID)
	return db.Close()
}

func (m *HandWritten) GetStats() ConnectionStats {
	m.mu.Lock()
	defer m.mu.Unlock()
	stats := ConnectionStats{MaxConnections: 2 * m.max, WorkspaceConnections: map[string]int{}}
	for id, db := range m.workspaces {
		s := db.Stats()
		stats.OpenConnections += s.OpenConnections
		stats.InUse += s.InUse
		stats.WorkspaceConnections[id] = s.OpenConnections
	}
	return stats
}

func (m *HandWritten) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	errs := []error{m.system.Close()}
	for _, db := range m.workspaces {
		errs = append(errs, db.Close())
	}
	return errors.Join(errs...)
}
