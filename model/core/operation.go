package core

import "github.com/tenantpool/tenantpool/model"

// operation is an Evict, a Renew or a Pause that has not been answered yet.
type operation struct {
	ID OperationID
	// Closed is how many connections it closes in all.
	Closed int
	// pending is how many of them have not gone yet, of an Evict or a Renew. A Pause is
	// answered when its workspace has none left.
	pending int
}

func (s *State) operationDone(op *operation) {
	s.emit(OperationDone{Operation: op.ID, Closed: op.Closed})
}

func (s *State) evict(m Evict) {
	op := &operation{ID: m.Operation}
	if w := s.workspaces[m.Workspace]; w != nil {
		s.closeFoundIdle(w, op, model.EvictAsked)
	}
	if op.pending == 0 {
		s.operationDone(op)
	}
}

// closeFoundIdle closes all idle connections of a workspace for an operation.
func (s *State) closeFoundIdle(w *workspace, op *operation, reason model.CloseReason) {
	op.Closed += len(w.idle)
	op.pending += len(w.idle)
	for _, c := range w.idle {
		c.ClosedBy = op
	}
	s.closeIdle(w, len(w.idle), reason)
}

// renew makes all connections of a workspace stale, those included that are being
// dialed: they may have logged in before whatever the Renew is for. For all
// workspaces it takes time linear in the number of known ones.
func (s *State) renew(m Renew) {
	op := &operation{ID: m.Operation}
	if m.All {
		for _, w := range s.byID() {
			s.renewWorkspace(w, op)
		}
	} else if w := s.workspaces[m.Workspace]; w != nil {
		s.renewWorkspace(w, op)
	}
	if op.pending == 0 {
		s.operationDone(op)
	}
}

func (s *State) renewWorkspace(w *workspace, op *operation) {
	w.Renewed = s.lastConn
	w.Backoff = backoff{}
	s.closeFoundIdle(w, op, model.Renewed)
	s.reindex(w)
}

func (s *State) pause(m Pause) {
	w := s.lookup(m.Workspace)
	w.Paused = true
	w.Renewed = s.lastConn // a Resume does not spare those that are lent
	op := &operation{ID: m.Operation, Closed: w.open()}
	if op.Closed == 0 {
		s.operationDone(op)
	} else {
		w.Pauses = append(w.Pauses, op)
		s.closeIdle(w, len(w.idle), model.PauseAsked)
	}
	s.reindex(w)
}

func (s *State) resume(m Resume) {
	w := s.workspaces[m.Workspace]
	if w == nil {
		return
	}
	w.Paused = false
	w.Backoff = backoff{}
	s.finishPauses(w)
	s.reindex(w)
}

// Paused tells whether a Pause of the workspace has not been resumed.
func (s *State) Paused(id model.WorkspaceID) bool {
	w := s.workspaces[id]
	return w != nil && w.Paused
}

// finishOperations answers what a connection that has gone was the last of.
func (s *State) finishOperations(c *conn) {
	if op := c.ClosedBy; op != nil {
		op.pending--
		if op.pending == 0 {
			s.operationDone(op)
		}
	}
	if c.workspace.open() == 0 {
		s.finishPauses(c.workspace)
	}
}

func (s *State) finishPauses(w *workspace) {
	for _, op := range w.Pauses {
		s.operationDone(op)
	}
	w.Pauses = nil
}
