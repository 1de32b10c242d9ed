package pools

import (
	"testing"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgproto3"
)

// The server may signal a backend a second time for one cancel request, after the statement
// has ended: that cancels the reset, which is sent again, once. Without a cancel request
// somebody else has cancelled it, and the session is not used again.
func TestAResetThatALateCancelHitsIsSentAgainOnce(t *testing.T) {
	s := &statement{backend: &backend{cancel: &cancelHandler{}}}
	cancelled := &pgproto3.ErrorResponse{Code: pgerrcode.QueryCanceled}
	if err := s.resetAnswer(cancelled); err == nil || s.resetAgain {
		t.Errorf("nobody has asked for it: %v", err)
	}
	s.backend.interrupts++
	if err := s.resetAnswer(&pgproto3.ErrorResponse{Code: pgerrcode.InternalError}); err == nil || s.resetAgain {
		t.Errorf("another error: %v", err)
	}
	if err := s.resetAnswer(cancelled); err != nil || !s.resetAgain {
		t.Errorf("a late cancel: %v", err)
	}
	s.cancels = s.backend.cancels() // as receive does when it sends the reset again
	if err := s.resetAnswer(cancelled); err == nil {
		t.Error("a second time")
	}
}
