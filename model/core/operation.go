package core

import "github.com/tenantpool/tenantpool/model"

// operation is an Evict, a Renew or a Pause that has not been answered yet.
type operation struct {
	id OperationID
	// closed is how many connections it closes in all.
	closed int
	// pending is how many of them have not gone yet, of an Evict or a Renew. A Pause is
	// answered when its workspace has none left.
	pending int
}

func (s *State) operationDone(op *operation) {
	s.emit(OperationDone{Operation: op.id, Closed: op.closed})
}

func (s *State) evict(m Evict) {
	op := &operation{id: m.Operation}
	if w := s.workspaces[m.Workspace]; w != nil {
		s.closeFoundIdle(w, op, model.EvictAsked)
	}
	if op.pending == 0 {
		s.operationDone(op)
	}
}

// closeFoundIdle closes all idle connections of a workspace for an operation.
func (s *State) closeFoundIdle(w *workspace, op *operation, reason model.CloseReason) {
	op.closed += len(w.idle)
	op.pending += len(w.idle)
	for _, c := range w.idle {
		c.closedBy = op
	}
	s.closeIdle(w, len(w.idle), reason)
}

// renew makes all connections of a workspace stale, those included that are being
// dialed: they may have logged in before whatever the Renew is for. For all
// workspaces it takes time linear in the number of known ones.
func (s *State) renew(m Renew) {
	op := &operation{id: m.Operation}
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
	w.renewed = s.lastConn
	w.backoff = backoff{}
	s.closeFoundIdle(w, op, model.Renewed)
	s.reindex(w)
}

func (s *State) pause(m Pause) {
	w := s.lookup(m.Workspace)
	w.paused = true
	w.renewed = s.lastConn // a Resume does not spare those that are lent
	op := &operation{id: m.Operation, closed: w.open()}
	if op.closed == 0 {
		s.operationDone(op)
	} else {
		w.pauses = append(w.pauses, op)
		s.closeIdle(w, len(w.idle), model.PauseAsked)
	}
	s.reindex(w)
}

func (s *State) resume(m Resume) {
	w := s.workspaces[m.Workspace]
	if w == nil {
		return
	}
	w.paused = false
	w.backoff = backoff{}
	s.finishPauses(w)
	s.reindex(w)
}

// Paused tells whether a Pause of the workspace has not been resumed.
func (s *State) Paused(id model.WorkspaceID) bool {
	w := s.workspaces[id]
	return w != nil && w.paused
}

// finishOperations answers what a connection that has gone was the last of.
func (s *State) finishOperations(c *conn) {
	if op := c.closedBy; op != nil {
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
	for _, op := range w.pauses {
		s.operationDone(op)
	}
	w.pauses = nil
}
