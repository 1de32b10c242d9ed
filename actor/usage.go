package actor

import (
	"cmp"
	"context"
	"slices"

	"github.com/tenantpool/tenantpool/model"
)

// usage is what each workspace of a share has had. It is bounded: when recent is full it
// becomes older, and what is still in older goes into others. Only the supervisor touches it.
type usage struct {
	recent, older map[model.WorkspaceID]*model.WorkspaceUsage
	others        model.WorkspaceUsage
}

// usageKept is how many workspaces recent and older have at most, together.
const usageKept = 20_000

func newUsage() *usage {
	return &usage{recent: make(map[model.WorkspaceID]*model.WorkspaceUsage)}
}

// of returns the workspace's. It is not to be kept.
func (u *usage) of(id model.WorkspaceID) *model.WorkspaceUsage {
	w := u.recent[id]
	if w != nil {
		return w
	}
	if w = u.older[id]; w == nil {
		w = &model.WorkspaceUsage{ID: id}
	}
	delete(u.older, id)
	if len(u.recent) >= usageKept/2 {
		for _, old := range u.older {
			u.others.Add(*old)
		}
		u.recent, u.older = make(map[model.WorkspaceID]*model.WorkspaceUsage), u.recent
	}
	u.recent[id] = w
	return w
}

// all are those remembered, in no order.
func (u *usage) all() []model.WorkspaceUsage {
	all := make([]model.WorkspaceUsage, 0, len(u.recent)+len(u.older))
	for _, w := range u.recent {
		all = append(all, *w)
	}
	for _, w := range u.older {
		all = append(all, *w)
	}
	return all
}

// Usage returns what the workspaces of a share have had since the start. It waits for the
// supervisor's answer, but no longer than ctx.
func (s *Supervisor) Usage(ctx context.Context, of ShareIndex) (model.Usage, error) {
	all, err := ask(ctx, s, "usage", notAnswered, func() model.Usage {
		sh := s.shares[of]
		s.recallAll(sh)
		for _, c := range sh.leased {
			sh.countSeatHits(c)
		}
		return model.Usage{Workspaces: sh.usage.all(), Others: sh.usage.others}
	})
	slices.SortFunc(all.Workspaces, func(a, b model.WorkspaceUsage) int { // here, not at the supervisor's expense
		return cmp.Or(cmp.Compare(b.Lent, a.Lent), cmp.Compare(a.ID, b.ID))
	})
	return all, err
}
