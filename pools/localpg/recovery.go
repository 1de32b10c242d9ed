package localpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
)

// ResumeInRecovery starts the server again after Shutdown as a standby of a primary
// that never comes, and that lets nobody in (hot_standby is off): each login is
// refused with SQLSTATE 57P03. It blocks until the server does so. Promote ends the
// recovery. Shutdown ends the server, and the next Resume is an ordinary one.
//
// The server must have been started with the setting wal_level=replica, or it cannot
// recover.
func (s *Server) ResumeInRecovery(ctx context.Context) error {
	if err := s.maySpawn(); err != nil {
		return fmt.Errorf("localpg: resume in recovery: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errSlow)
	defer cancel()
	if err := s.leaveFile(standbySignal); err != nil {
		return err
	}
	if err := s.spawn("-c", "hot_standby=off"); err != nil {
		return err
	}
	for {
		conn, err := s.connectSuperuser(ctx)
		var refused *pgconn.PgError
		switch {
		case err == nil:
			HangUp(conn)
			return errors.New("localpg: resume in recovery: the server takes logins")
		case errors.As(err, &refused) && refused.Code == pgerrcode.CannotConnectNow:
			return nil
		case !s.running():
			return fmt.Errorf("localpg: resume in recovery: the server did not start: %w\n%s", err, s.LogTail())
		}
		if cause := pause(ctx); cause != nil {
			return fmt.Errorf("localpg: resume in recovery: %w; the last answer was: %w", cause, err)
		}
	}
}

// Promote ends the recovery that ResumeInRecovery began, and blocks until the
// server takes logins.
func (s *Server) Promote(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errSlow)
	defer cancel()
	if _, err := os.Stat(s.dataFile(standbySignal)); err != nil || !s.running() {
		return errors.New("localpg: promote: the server is not in recovery: call ResumeInRecovery first")
	}
	if err := s.leaveFile("promote"); err != nil {
		return err
	}
	if err := s.postmaster.process.Signal(lookAtPromote); err != nil {
		return fmt.Errorf("localpg: promote: %w", err)
	}
	conn, err := s.answer(ctx)
	if err != nil {
		return fmt.Errorf("localpg: promote: %w\n%s", err, s.LogTail())
	}
	HangUp(conn)
	return nil
}

// standbySignal is the file that makes a starting server a standby. The server
// removes it when it is promoted.
const standbySignal = "standby.signal"

func (s *Server) dataFile(name string) string { return filepath.Join(s.folder, dataFolder, name) }

// leaveFile makes an empty file of the server's own in its data folder.
func (s *Server) leaveFile(name string) error {
	path := s.dataFile(name)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return fmt.Errorf("localpg: %w", err)
	}
	if err := s.account.own(path); err != nil {
		return errors.Join(fmt.Errorf("localpg: %w", err), os.Remove(path))
	}
	return nil
}
