package pools

import (
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/time/rate"
)

// sparseLog logs warnings that a burst of requests can cause, so that logging
// does not make the burst worse: the first ones at once, then a few per second,
// each with how many were left out before it.
type sparseLog struct {
	to         logrus.FieldLogger
	limiter    *rate.Limiter
	suppressed atomic.Int64
}

func newSparseLog(to logrus.FieldLogger) *sparseLog {
	return &sparseLog{to: to, limiter: rate.NewLimiter(rate.Every(200*time.Millisecond), 20)}
}

// warn asks for the fields only if it logs: thousands of refusals in a second should
// not be made more expensive by their wording.
func (l *sparseLog) warn(message string, about func() logrus.Fields) {
	if !l.limiter.Allow() {
		l.suppressed.Add(1)
		return
	}
	fields := about()
	if n := l.suppressed.Swap(0); n > 0 {
		fields["suppressed"] = n
	}
	l.to.WithFields(fields).Warn(message)
}
