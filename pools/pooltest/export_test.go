package pooltest

import (
	"context"
	"time"
)

// AheadAtMost and Makers bound how many copies are made ahead.
func AheadAtMost() int { return aheadAtMost() }

const Makers = makers

// DataFolder is where the data of a server lies that has started.
func (s *Server) DataFolder() (folder string) {
	_ = s.started.Load().admin.QueryRow(context.Background(), `SHOW data_directory`).Scan(&folder)
	return folder
}

// Superuser runs a statement.
func (s *Server) Superuser(ctx context.Context, sql string) error {
	_, err := s.started.Load().admin.Exec(ctx, sql)
	return err
}

// WaitUntilAhead waits until all copies that are made ahead are there, and nothing is
// left to be dropped.
func (s *Server) WaitUntilAhead() {
	r := s.started.Load()
	for len(r.ahead.ready) < cap(r.ahead.ready) || len(r.returned) > 0 || r.admin.Stat().AcquiredConns() > 0 {
		time.Sleep(time.Millisecond)
	}
}
