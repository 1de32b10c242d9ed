package actor

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/tenantpool/tenantpool/model"
)

// directory finds the seats of a workspace. Any goroutine may look one up; only the
// supervisor adds and removes, so a change is no more than pointers stored in the right
// order. A lookup during a change sees the directory as it was before or as it is after.
type directory struct {
	seed  maphash.Seed
	table atomic.Pointer[[]bucket]
	size  int // only the supervisor touches it
}

// bucket is the head of a chain.
type bucket = atomic.Pointer[entry]

type entry struct {
	seats *seats
	next  bucket
}

// minBuckets must be, like every number of buckets, a power of two.
const minBuckets = 16

func newDirectory() *directory {
	d := &directory{seed: maphash.MakeSeed()}
	table := make([]bucket, minBuckets)
	d.table.Store(&table)
	return d
}

// chain is where the workspace is, if it is in the table.
func (d *directory) chain(table []bucket, id model.WorkspaceID) *bucket {
	return &table[maphash.String(d.seed, string(id))&uint64(len(table)-1)]
}

// find returns the workspace's seats, or nil.
func (d *directory) find(id model.WorkspaceID) *seats {
	for e := d.chain(*d.table.Load(), id).Load(); e != nil; e = e.next.Load() {
		if e.seats.workspace == id {
			return e.seats
		}
	}
	return nil
}

// add puts in what is not yet in it.
func (d *directory) add(ts *seats) {
	d.size++
	if d.size > len(*d.table.Load()) {
		d.grow()
	}
	d.link(*d.table.Load(), ts)
}

func (d *directory) link(table []bucket, ts *seats) {
	at := d.chain(table, ts.workspace)
	e := &entry{seats: ts}
	e.next.Store(at.Load())
	at.Store(e)
}

// grow makes new entries, because the old ones may be on somebody's way.
func (d *directory) grow() {
	old := *d.table.Load()
	table := make([]bucket, 2*len(old))
	for i := range old {
		for e := old[i].Load(); e != nil; e = e.next.Load() {
			d.link(table, e.seats)
		}
	}
	d.table.Store(&table)
}

// remove takes it out, if it is in.
func (d *directory) remove(ts *seats) {
	at := d.chain(*d.table.Load(), ts.workspace)
	for e := at.Load(); e != nil; e = at.Load() {
		if e.seats == ts {
			d.size--
			at.Store(e.next.Load()) // who is at e goes on from there as before
			return
		}
		at = &e.next
	}
}

// all calls f with each. f may remove it.
func (d *directory) all(f func(*seats)) {
	table := *d.table.Load()
	for i := range table {
		for e := table[i].Load(); e != nil; e = e.next.Load() {
			f(e.seats)
		}
	}
}
