package pools

import (
	"context"
	"fmt"
	"slices"

	"github.com/tenantpool/tenantpool/model"
)

// turns has what creates, drops and renames take turns on a workspace: one would end
// the pause that another needs. Whoever has received the map may change it, and sends it
// back at once. Each channel in it is closed when the turn on that workspace ends.
type turns chan map[model.WorkspaceID]chan struct{}

func newTurns() turns {
	t := make(turns, 1)
	t <- make(map[model.WorkspaceID]chan struct{})
	return t
}

// take blocks until nobody else has a turn on any of the workspaces, or ctx is done.
// Turns are taken in the order of the ids, so that two who want the same ones never
// wait for each other.
func (t turns) take(ctx context.Context, ids ...model.WorkspaceID) (end func(), err error) {
	slices.Sort(ids)
	var taken []model.WorkspaceID
	end = func() {
		held := <-t
		for _, id := range taken {
			close(held[id])
			delete(held, id)
		}
		t <- held
	}
	for _, id := range slices.Compact(ids) {
		for {
			held := <-t
			other := held[id]
			if other == nil {
				held[id] = make(chan struct{})
			}
			t <- held
			if other == nil {
				taken = append(taken, id)
				break
			}
			select {
			case <-other:
			case <-ctx.Done():
				end()
				return nil, fmt.Errorf("workspace %q is being created, dropped or renamed by somebody else: %w", id, ctx.Err())
			}
		}
	}
	return end, nil
}
