package planner

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// A file of recorded traffic is a line of JSON and then the records, in variable-length
// integers. It names no workspace: it has their hashes.

const (
	fileFormat  = "tenantpool traffic"
	fileVersion = 1
	// longestHeader bounds the line of JSON, and mostOwn the workspaces with limits of their
	// own.
	longestHeader = 64 << 10
	mostOwn       = 100_000
	// longestTime is the longest that a duration in a file may be: three of them can be added.
	// A setting that is longer is as good as for ever, and written as this.
	longestTime = 90 * 365 * 24 * time.Hour
)

// fileHeader is the line of JSON. Acquires, Held and Own are how many records follow of each.
type fileHeader struct {
	Format              string
	Version             int
	Begin, End          time.Duration
	OneIn               uint32
	All, Dialed         uint64
	Short               time.Duration
	Limits              model.Limits
	Effective           int
	Dials, Closes       []Micros
	Acquires, Held, Own int
	About               About
}

// Write writes the Window and what a Plan is to know besides it, so that it can be planned
// with elsewhere. It holds no workspace's id. The Window does not change meanwhile. An error
// is that of to, or says that too many workspaces have limits of their own.
func Write(to io.Writer, w *Window, about About) error {
	if len(w.own) > mostOwn {
		return fmt.Errorf("write recorded traffic: %d workspaces have limits of their own, and a file holds those of %d at most", len(w.own), mostOwn)
	}
	limits := w.limits
	for _, d := range [...]*time.Duration{
		&limits.MaxLifetime, &limits.LifetimeJitter, &limits.MaxIdleTime, &limits.CloseGrace, &limits.Patience, &about.AcquireTimeout,
	} {
		*d = min(*d, longestTime)
	}
	header, err := json.Marshal(fileHeader{
		Format: fileFormat, Version: fileVersion,
		Begin: w.begin, End: w.end, OneIn: w.oneIn,
		All: w.sum.all, Dialed: w.sum.dialed, Short: w.sum.short,
		Limits: limits, Effective: w.effective, Dials: w.dials.all(), Closes: w.closes.all(),
		Acquires: len(w.acquires), Held: len(w.held), Own: len(w.own), About: about,
	})
	if err != nil {
		return fmt.Errorf("write recorded traffic: %w", err)
	}
	b := bufio.NewWriter(to) // which keeps the first error until Flush
	_, _ = b.Write(append(header, '\n'))
	held := slices.Clone(w.held)
	slices.SortFunc(held, byArrival)
	for _, of := range [...][]Acquire{w.acquires, held} {
		last := time.Duration(0)
		for _, a := range of {
			putVarints(b, uint64(a.At-last), uint64(a.Workspace), uint64(a.Waited), uint64(a.Held), uint64(a.More)<<2|uint64(a.Outcome))
			last = a.At
		}
	}
	for _, h := range slices.Sorted(maps.Keys(w.own)) {
		l := w.own[h]
		putVarints(b, uint64(h), uint64(max(0, l.Cap)), uint64(max(0, l.SoftCap)), uint64(max(0, l.MaxWaiters)))
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write recorded traffic: %w", err)
	}
	return nil
}

func putVarints(b *bufio.Writer, values ...uint64) {
	var buffer [binary.MaxVarintLen64]byte
	for _, v := range values {
		_, _ = b.Write(buffer[:binary.PutUvarint(buffer[:], v)])
	}
}

// Read reads what Write has written. Whatever it is given it keeps no more than a Window and
// returns a Window that can be planned with, or an error that says what is wrong.
func Read(from io.Reader) (*Window, About, error) {
	b := bufio.NewReaderSize(from, longestHeader)
	line, err := b.ReadSlice('\n')
	var h fileHeader
	if err != nil || json.Unmarshal(line, &h) != nil || h.Format != fileFormat {
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, About{}, fmt.Errorf("read recorded traffic: %w", err)
		}
		return nil, About{}, errors.New("read recorded traffic: this is not a file of recorded traffic: its first line is not of that format")
	}
	if err := h.validate(); err != nil {
		return nil, About{}, fmt.Errorf("read recorded traffic: %w", err)
	}
	w := NewWindow(int(h.OneIn))
	w.begin, w.end, w.limits, w.effective = h.Begin, h.End, h.Limits, h.Effective
	w.sum = second{end: h.End, all: h.All, dialed: h.Dialed, short: h.Short}
	w.seconds = []second{w.sum}
	w.dials.add(h.Dials, len(h.Dials))
	w.closes.add(h.Closes, len(h.Closes))
	r := records{from: b, end: h.End}
	w.acquires = r.acquires(h.Acquires)
	w.held = r.acquires(h.Held)
	w.own = r.own(h.Own)
	if r.err == nil {
		if _, err := b.ReadByte(); err == nil {
			r.err = errors.New("there is something after its end")
		}
	}
	if r.err != nil {
		return nil, About{}, fmt.Errorf("read recorded traffic: the file is damaged: %w", r.err)
	}
	return w, h.About, nil
}

// validate tells what of the header nobody could plan with.
func (h *fileHeader) validate() error {
	if h.Version != fileVersion {
		return fmt.Errorf("the file is of version %d, and this program reads version %d", h.Version, fileVersion)
	}
	for _, n := range [...]struct {
		what               string
		value, least, most int64
	}{
		{"Begin", int64(h.Begin), 0, int64(h.End)},
		{"End", int64(h.End), 0, int64(longestTime)},
		{"OneIn", int64(h.OneIn), 1, 1 << 20},
		{"Short", int64(h.Short), 0, int64(longestTime)},
		{"Effective", int64(h.Effective), 1, largestBudget},
		{"Limits.Budget", int64(h.Limits.Budget), 1, largestBudget},
		{"Limits.PerWorkspace", int64(h.Limits.PerWorkspace), 1, largestBudget},
		{"Limits.MaxDialing", int64(h.Limits.MaxDialing), 1, largestBudget},
		{"Limits.MaxWaiters", int64(h.Limits.MaxWaiters), 1, 1 << 30},
		{"Limits.MaxLifetime", int64(h.Limits.MaxLifetime), 0, int64(longestTime)},
		{"Limits.LifetimeJitter", int64(h.Limits.LifetimeJitter), 0, int64(longestTime)},
		{"Limits.MaxIdleTime", int64(h.Limits.MaxIdleTime), 0, int64(longestTime)},
		{"Limits.CloseGrace", int64(h.Limits.CloseGrace), 0, int64(longestTime)},
		{"Limits.Patience", int64(h.Limits.Patience), 0, int64(longestTime)},
		{"Acquires", int64(h.Acquires), 0, windowSize},
		{"Held", int64(h.Held), 0, int64(windowSize - h.Acquires)},
		{"Own", int64(h.Own), 0, mostOwn},
		{"About.AcquireTimeout", int64(h.About.AcquireTimeout), 0, int64(longestTime)},
		{"About.SystemShare", int64(h.About.SystemShare), 0, largestBudget},
		{"About.Grantable", int64(h.About.Grantable), 0, 1 << 30},
	} {
		if n.value < n.least || n.value > n.most {
			return fmt.Errorf("%s is %d in the file, and must be from %d to %d", n.what, n.value, n.least, n.most)
		}
	}
	if h.OneIn&(h.OneIn-1) != 0 {
		return fmt.Errorf("OneIn is %d in the file, and must be a power of two", h.OneIn)
	}
	return nil
}

// records reads them, up to the first error.
type records struct {
	from *bufio.Reader
	end  time.Duration
	err  error
}

// next is a number up to most.
func (r *records) next(most uint64) uint64 {
	if r.err != nil {
		return 0
	}
	v, err := binary.ReadUvarint(r.from)
	switch {
	case errors.Is(err, io.EOF):
		r.err = errors.New("it ends too early")
	case err != nil:
		r.err = err
	case v > most:
		r.err = fmt.Errorf("there is %d where at most %d may be", v, most)
	default:
		return v
	}
	return 0
}

func (r *records) acquires(n int) []Acquire {
	var acquires []Acquire
	last := time.Duration(0)
	for i := 0; i < n && r.err == nil; i++ {
		a := Acquire{At: last + time.Duration(r.next(uint64(r.end-last)))}
		a.Workspace, a.Waited, a.Held = Hash(r.next(1<<32-1)), Micros(r.next(1<<32-1)), Micros(r.next(1<<32-1))
		v := r.next(1<<18 - 1)
		a.More, a.Outcome, last = uint16(v>>2), Outcome(v&3), a.At
		if a.Outcome > Refused {
			r.err = fmt.Errorf("there is no outcome %d", a.Outcome)
		}
		acquires = append(acquires, a)
	}
	return acquires
}

func (r *records) own(n int) map[Hash]model.WorkspaceLimits {
	own := map[Hash]model.WorkspaceLimits{}
	for ; n > 0 && r.err == nil; n-- {
		h := Hash(r.next(1<<32 - 1))
		own[h] = model.WorkspaceLimits{
			Cap: int32(r.next(largestBudget)), SoftCap: int32(r.next(largestBudget)), MaxWaiters: int32(r.next(1<<31 - 1)),
		}
	}
	return own
}

// Curve is that of the Window but for its first quarter, for whoever has no other.
func (w *Window) Curve() *Curve {
	c := NewCurve()
	n, _ := slices.BinarySearchFunc(w.acquires, w.counted(), func(a Acquire, at time.Duration) int { return cmp.Compare(a.At, at) })
	t := Traffic{SampledOneIn: w.oneIn, Limits: w.limits, Own: w.own}
	t.Now, t.Ended = w.counted(), w.acquires[:n]
	c.Add(t)
	clear(c.hits)
	c.total, c.all = 0, 0
	t.Now, t.Ended, t.Held, t.Acquires = w.end, w.acquires[n:], w.held, w.sum.all*3/4
	c.Add(t)
	return c
}
