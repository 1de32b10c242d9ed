package model

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// WorkspaceSettings are what one workspace has in place of the Config's. Zero means: as the
// Config says.
type WorkspaceSettings struct {
	// MaxConnections is how many connections it may hold, SoftMaxConnections how many of
	// these it need not share (Config.SoftMaxConnectionsPerDB), and MaxWaiters how many of
	// its acquires may wait.
	MaxConnections, SoftMaxConnections, MaxWaiters int
	// AcquireTimeout bounds its acquires, but not those of batch work.
	AcquireTimeout time.Duration
	// Role is what its sessions SET ROLE to; the login's role must be a member of it. It
	// limits what the application's own statements may do, as when one names a table that
	// it should not. It is no wall against SQL that others write: a session may SET ROLE
	// NONE and have the login's rights again. For that, give each workspace a login of its
	// own (a BeforeConnect hook may change User and Password).
	Role string
	// StatementTimeout is how long a statement may run before the server cancels it
	// (SQLSTATE 57014): whole milliseconds. A session may SET another.
	StatementTimeout time.Duration
}

// SettingsError is of settings of a workspace that are not valid. Err says all that is wrong.
type SettingsError struct{ Err error }

func (e *SettingsError) Error() string { return e.Err.Error() }
func (e *SettingsError) Unwrap() error { return e.Err }

// Validate returns a *SettingsError.
func (s WorkspaceSettings) Validate() error {
	var wrong []error
	for _, n := range []struct {
		name  string
		value int
	}{{"MaxConnections", s.MaxConnections}, {"SoftMaxConnections", s.SoftMaxConnections}, {"MaxWaiters", s.MaxWaiters}} {
		if n.value < 0 || n.value > math.MaxInt32 {
			wrong = append(wrong, fmt.Errorf("%s is %d: it must be from 0 (as the Config says) to %d", n.name, n.value, math.MaxInt32))
		}
	}
	if s.MaxConnections > 0 && s.SoftMaxConnections > s.MaxConnections {
		wrong = append(wrong, fmt.Errorf("SoftMaxConnections is %d: it must be at most MaxConnections, which is %d", s.SoftMaxConnections, s.MaxConnections))
	}
	if s.AcquireTimeout < 0 {
		wrong = append(wrong, fmt.Errorf("AcquireTimeout is %v: it must be 0 (as the Config says) or more", s.AcquireTimeout))
	}
	if len(s.Role) > MaxNameLength || strings.ContainsRune(s.Role, 0) || strings.EqualFold(s.Role, "none") {
		wrong = append(wrong, fmt.Errorf("Role is %q: it must be the name of a role, of at most %d bytes; empty is the login's", s.Role, MaxNameLength)) //nolint:staticcheck // a field's name
	}
	if d := s.StatementTimeout; d < 0 || d > math.MaxInt32*time.Millisecond || d%time.Millisecond != 0 {
		wrong = append(wrong, fmt.Errorf("StatementTimeout is %v: it must be whole milliseconds, from 0 (as the server says) to %v", d, math.MaxInt32*time.Millisecond))
	}
	if wrong == nil {
		return nil
	}
	return &SettingsError{errors.Join(wrong...)}
}
