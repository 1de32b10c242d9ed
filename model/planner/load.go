package planner

import (
	"cmp"
	"iter"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

const (
	// bucketLength is how finely the last hour is kept.
	bucketLength = 10 * time.Second
	// bucketCount is an hour of them, and the one that is being filled.
	bucketCount = int(time.Hour/bucketLength) + 1
	// longestFor bounds the time that one observation stands for: of a stopped process's
	// time nothing is known.
	longestFor = 2 * time.Second
	// levelOver is how many observations, one a second, a Level is the mean of: a peak
	// of one or two seconds is no reason to warn.
	levelOver = 10
)

// windows are those of a model.Utilisation.
var windows = [...]time.Duration{time.Minute, 10 * time.Minute, time.Hour}

// Load keeps how much of the budget was in use over the last hour. It takes 50 KB. The zero
// Load is ready for use.
type Load struct {
	// buckets are by their number modulo bucketCount. One whose number is not right is of an
	// earlier hour.
	buckets [bucketCount]bucket
	// fed: there was an Add, the last one at last, with that budget.
	fed    bool
	last   time.Duration
	budget int
	// shares are the busy parts of the budget in the last observations, a ring of which
	// judged were filled since the start or the last gap.
	shares [levelOver]float64
	judged int
	level  model.Level
}

// quantity is what is counted.
type quantity int

const (
	open quantity = iota
	busy
	inUse
	dialing
	waiting
	quantities
)

// bucket is what was observed in some seconds.
type bucket struct {
	number int64
	// covered is how much of its time was observed.
	covered time.Duration
	// budget is the smallest, or 0 before there was one.
	budget int
	// sums are of each quantity times the seconds that it was observed for.
	sums  [quantities]float64
	peaks [quantities]int
}

// Add tells what was observed at now, once a second: the slots that the server grants, and
// what became of them. It returns the Level before and after, which differ when
// there is something to warn of, or to call off.
func (l *Load) Add(now time.Duration, budget int, c model.Counts) (before, after model.Level) {
	stoodFor := time.Second
	if l.fed {
		stoodFor = min(max(0, now-l.last), longestFor)
		if now-l.last > levelOver*time.Second {
			l.judged = 0
		}
	}
	l.fed, l.last, l.budget = true, now, budget
	b := l.bucketAt(now)
	b.covered += stoodFor
	if budget > 0 && (b.budget == 0 || budget < b.budget) {
		b.budget = budget
	}
	for q, n := range [quantities]int{open: c.Open(), busy: c.Busy(), inUse: c.InUse, dialing: c.Dialing, waiting: c.Waiting} {
		b.sums[q] += float64(n) * stoodFor.Seconds()
		b.peaks[q] = max(b.peaks[q], n)
	}
	before = cmp.Or(l.level, model.LevelNormal)
	l.judge(budget, c.Busy(), before)
	return before, l.level
}

// bucketAt is the one that now is in, cleared if it was of an earlier hour.
func (l *Load) bucketAt(now time.Duration) *bucket {
	number := int64(now / bucketLength)
	b := &l.buckets[number%int64(bucketCount)]
	if b.number != number {
		*b = bucket{number: number}
	}
	return b
}

// judge sets the level. Without a budget, as before a shared one's first grant, there is
// nothing to judge.
func (l *Load) judge(budget, busy int, before model.Level) {
	l.level = before
	if budget <= 0 {
		return
	}
	l.shares[l.judged%levelOver] = float64(busy) / float64(budget)
	l.judged++
	if l.judged < levelOver {
		return
	}
	mean := 0.0
	for _, share := range l.shares {
		mean += share / levelOver
	}
	l.level = levelAt(mean, before)
}

// levelAt is the Level at that part of the budget. Between where one begins and where it
// ends it stays as it was, so that a load at a bound is one warning and not one a second.
func levelAt(share float64, before model.Level) model.Level {
	const rounding = 1e-9 // ten times 0.8 are summed up
	share += rounding
	switch {
	case share >= 0.95, before == model.LevelCritical && share >= 0.90:
		return model.LevelCritical
	case share >= 0.80, before != model.LevelNormal && share >= 0.70:
		return model.LevelHigh
	}
	return model.LevelNormal
}

// Utilisation is that of the time up to now, which is wall by the clock on the wall. Each
// window is longer than it says by up to ten seconds.
func (l *Load) Utilisation(now time.Duration, wall time.Time) model.Utilisation {
	u := model.Utilisation{Level: cmp.Or(l.level, model.LevelNormal)}
	for i, over := range windows {
		u.Windows[i] = l.window(now, over)
	}
	if ahead, ok := fullIn(l.busyByMinute(now), now, l.budget); ok {
		u.FullAt = wall.Add(ahead)
	}
	return u
}

// window adds up the buckets that are partly or wholly in it.
func (l *Load) window(now, over time.Duration) model.UtilisationWindow {
	var sum bucket
	for b := range l.since(now - over) {
		sum.covered += b.covered
		if b.budget > 0 && (sum.budget == 0 || b.budget < sum.budget) {
			sum.budget = b.budget
		}
		for q := range quantities {
			sum.sums[q] += b.sums[q]
			sum.peaks[q] = max(sum.peaks[q], b.peaks[q])
		}
	}
	ranged := func(q quantity) model.Range {
		return model.Range{Mean: sum.mean(q), Peak: sum.peaks[q]}
	}
	return model.UtilisationWindow{
		Over: over, Seen: min(over, sum.covered), Budget: sum.budget,
		Open: ranged(open), Busy: ranged(busy), InUse: ranged(inUse), Dialing: ranged(dialing), Waiting: ranged(waiting),
	}
}

func (b *bucket) mean(q quantity) float64 {
	if b.covered == 0 {
		return 0
	}
	return b.sums[q] / b.covered.Seconds()
}

// since are the buckets with something in them that end after start, an hour ago at most, the
// earliest first.
func (l *Load) since(start time.Duration) iter.Seq[*bucket] {
	return func(yield func(*bucket) bool) {
		if !l.fed {
			return
		}
		for number := int64(max(0, start) / bucketLength); number <= int64(l.last/bucketLength); number++ {
			b := &l.buckets[number%int64(bucketCount)]
			if b.number == number && b.covered > 0 && !yield(b) {
				return
			}
		}
	}
}

// busyByMinute are the means of the last hour's minutes, but for those of which less than
// half was observed.
func (l *Load) busyByMinute(now time.Duration) []point {
	var points []point
	var minute bucket
	end := func() {
		if minute.covered >= time.Minute/2 {
			points = append(points, point{minutes: float64(minute.number) + 0.5, busy: minute.mean(busy)})
		}
	}
	for b := range l.since(now - time.Hour) {
		if number := b.number * int64(bucketLength) / int64(time.Minute); number != minute.number {
			end()
			minute = bucket{number: number}
		}
		minute.covered += b.covered
		minute.sums[busy] += b.sums[busy]
	}
	end()
	return points
}
