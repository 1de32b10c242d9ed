package planner

import (
	"bytes"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

func recordedWindow(t testing.TB, until time.Duration) *Window {
	requests := zipfRequests(1, 1.0, 100, 500, 8*time.Millisecond, until)
	w := windowOf(runLive(t, testLimits(30, 3), requests, until).told, 1)
	w.own = map[Hash]model.WorkspaceLimits{3: {Cap: 2}, 1: {Cap: 4, SoftCap: 2, MaxWaiters: 7}}
	return w
}

// What is read is what was written, and what is planned with it is the same.
func TestRecordedTrafficIsReadAsItWasWritten(t *testing.T) {
	w := recordedWindow(t, 5*time.Second)
	about := About{SystemShare: 5, Grantable: 90, AcquireTimeout: time.Second, Now: time.Unix(1700000000, 0).UTC()}
	var file bytes.Buffer
	if err := Write(&file, w, about); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes for %d acquires", file.Len(), len(w.acquires))
	if bytes.Contains(file.Bytes(), []byte("tenant-")) {
		t.Error("the file has an id")
	}
	read, readAbout, err := Read(bytes.NewReader(file.Bytes()))
	if err != nil || readAbout != about {
		t.Fatalf("%v, %+v", err, readAbout)
	}
	var again bytes.Buffer
	if err := Write(&again, read, readAbout); err != nil || !bytes.Equal(again.Bytes(), file.Bytes()) {
		t.Errorf("written again it is otherwise, %v", err)
	}
	if p, q := read.Curve().Points(), w.Curve().Points(); !reflect.DeepEqual(p, q) {
		t.Errorf("curve %v\nand %v", p, q)
	}
	if c, d := NewPlan(read, read.Curve(), about).finish(t), NewPlan(w, w.Curve(), about).finish(t); !reflect.DeepEqual(c, d) {
		t.Errorf("%+v\nand %+v", c, d)
	}
}

// A setting may be as long as a duration can be.
func TestWhatIsForEverIsWrittenSoThatItCanBeRead(t *testing.T) {
	w := recordedWindow(t, time.Second)
	w.limits.MaxLifetime, w.limits.LifetimeJitter = math.MaxInt64, math.MaxInt64
	var file bytes.Buffer
	if err := Write(&file, w, About{AcquireTimeout: math.MaxInt64}); err != nil {
		t.Fatal(err)
	}
	if _, about, err := Read(&file); err != nil || about.AcquireTimeout != longestTime {
		t.Errorf("%v, %+v", err, about)
	}
}

func TestBadRecordedTrafficIsRefused(t *testing.T) {
	var file bytes.Buffer
	if err := Write(&file, recordedWindow(t, time.Second), About{}); err != nil {
		t.Fatal(err)
	}
	good := file.String()
	change := func(old, with string) string {
		changed := strings.Replace(good, old, with, 1)
		if changed == good {
			t.Fatalf("there is no %s", old)
		}
		return changed
	}
	for _, test := range []struct{ what, file, want string }{
		{"empty", "", "not a file of recorded traffic"},
		{"something else", "hello\nworld\n", "not a file of recorded traffic"},
		{"a long line", strings.Repeat("x", 2*longestHeader), "not a file of recorded traffic"},
		{"a later version", change(`"Version":1`, `"Version":2`), "version 2, and this program reads version 1"},
		{"cut", good[:len(good)-1], "ends too early"},
		{"too long", good + "x", "something after its end"},
		{"no budget", change(`"Budget":30`, `"Budget":0`), "Limits.Budget is 0 in the file, and must be from 1 to 10000"},
		{"too much", change(`"Held":`, `"Held":9999`), "Held is"},
		{"an odd sample", change(`"OneIn":1`, `"OneIn":3`), "power of two"},
	} {
		if _, _, err := Read(strings.NewReader(test.file)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.what, err)
		}
	}
}

// Whatever a file has in it, it is refused or can be planned with.
func FuzzReadTraffic(f *testing.F) {
	var file bytes.Buffer
	if err := Write(&file, recordedWindow(f, 200*time.Millisecond), About{AcquireTimeout: time.Second}); err != nil {
		f.Fatal(err)
	}
	f.Add(file.Bytes())
	f.Add(file.Bytes()[:file.Len()/2])
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		w, about, err := Read(bytes.NewReader(file))
		if err != nil {
			return
		}
		p := NewPlan(w, w.Curve(), about)
		for range 20 {
			if p.Step() {
				break
			}
			if p.running != nil {
				if err := p.running.state.Check(); err != nil {
					t.Fatal(err)
				}
			}
		}
		p.Capacity()
	})
}
