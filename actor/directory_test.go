package actor

import (
	"fmt"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/tenantpool/tenantpool/model"
)

// numbered are seats that belong to no share.
func numbered(n int) []*seats {
	all := make([]*seats, n)
	for i := range all {
		all[i] = &seats{workspace: model.WorkspaceID(fmt.Sprintf("w%d", i))}
	}
	return all
}

// Sixteen buckets hold more than one each, so most chains have several entries.
func TestADirectoryFindsWhatIsInIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := numbered(rapid.SampledFrom([]int{3, 20, 200}).Draw(t, "workspaces"))
		d := newDirectory()
		in := map[*seats]bool{}
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			ts := rapid.SampledFrom(all).Draw(t, "seats")
			if rapid.IntRange(0, 2).Draw(t, "what") > 0 && !in[ts] {
				d.add(ts)
				in[ts] = true
			} else {
				d.remove(ts) // or it is not in it, which does nothing
				delete(in, ts)
			}
			if d.size != len(in) || entries(d) != len(in) {
				t.Fatalf("it has %d entries and takes them for %d, of %d", entries(d), d.size, len(in))
			}
		}
		for _, ts := range all {
			found := d.find(ts.workspace)
			if in[ts] && found != ts || !in[ts] && found != nil {
				t.Fatalf("%s: in it %v, found %v", ts.workspace, in[ts], found)
			}
		}
		if n := len(*d.table.Load()); n < len(in) {
			t.Fatalf("%d buckets for %d", n, len(in))
		}
	})
}

func TestADirectoryMayBeEmptiedWhileItIsWalked(t *testing.T) {
	d := newDirectory()
	all := numbered(100)
	for _, ts := range all {
		d.add(ts)
	}
	seen := map[*seats]int{}
	d.all(func(ts *seats) {
		seen[ts]++
		d.remove(ts)
		d.remove(ts) // a second time does nothing
	})
	if d.size != 0 || entries(d) != 0 || len(seen) != len(all) {
		t.Errorf("%d of %d seen, %d are left, and it takes them for %d", len(seen), len(all), entries(d), d.size)
	}
}

// Who finds sees at each moment what stays, whatever comes and goes beside it.
func TestADirectoryIsReadWhileItChanges(t *testing.T) {
	d := newDirectory()
	all := numbered(600)
	staying, moving := all[:100], all[100:]
	for _, ts := range staying {
		d.add(ts)
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				for _, ts := range staying {
					if d.find(ts.workspace) != ts {
						t.Errorf("%s was not found", ts.workspace)
						return
					}
				}
				for _, ts := range moving[:20] {
					if found := d.find(ts.workspace); found != nil && found != ts {
						t.Errorf("%s was taken for %s", ts.workspace, found.workspace)
						return
					}
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for round := range 50 {
		for _, ts := range moving[:10*(round+1)] {
			d.add(ts)
		}
		for _, ts := range moving[:10*(round+1)] {
			d.remove(ts)
		}
	}
	close(stop)
	readers.Wait()
	if d.size != len(staying) {
		t.Errorf("it takes its entries for %d", d.size)
	}
}
