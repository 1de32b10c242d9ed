package property_tests

import (
	"cmp"
	"fmt"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// The words for messages and effects are core.DescribeMessage and DescribeEffect.

func describeLimits(l model.Limits) string {
	return fmt.Sprintf("limits budget=%d cap=%d waiters=%d waiters-each=%d dialing=%d eviction=%s batch=%v patience=%v lifetime=%v jitter=%v idle=%v verify=%v backoff=%v..%v grace=%v probe=%v seed=%d",
		l.Budget, l.PerWorkspace, l.MaxWaiters, l.MaxWaitersPerWorkspace, l.MaxDialing, cmp.Or(l.Eviction, model.LRU), l.BatchShare, l.Patience,
		l.MaxLifetime, l.LifetimeJitter, l.MaxIdleTime, l.VerifyAfter, l.BackoffMin, l.BackoffMax, l.CloseGrace, l.ProbeAfter, l.Seed)
}

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }
