package pools

import (
	"context"
	"errors"
	"fmt"

	"github.com/tenantpool/tenantpool/model"
)

// Capacity says how many connections the traffic of the last minutes needs. The error wraps
// errors.ErrUnsupported if Config.Planner is off, or model.ErrClosed after Close.
func (m *Manager) Capacity(context.Context) (model.Capacity, error) {
	return model.Capacity{}, fmt.Errorf("capacity: %w: there is no planner", errors.ErrUnsupported)
}
