package web

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/tenantpool/tenantpool/model"
)

// together sends a body so many times at once, and tells how many bytes were
// allocated for each, whatever of it was freed in between.
func (rig *handlersRig) together(clients int, role Role, path, body string, status int) (allocated uint64) {
	rig.t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			response, err := http.DefaultClient.Do(rig.request(role, path, body))
			if err != nil {
				rig.t.Error(err)
				return
			}
			response.Body.Close()
			if response.StatusCode != status {
				rig.t.Errorf("status %d, want %d", response.StatusCode, status)
			}
		})
	}
	all.Wait()
	runtime.ReadMemStats(&after)
	return (after.TotalAlloc - before.TotalAlloc) / uint64(clients)
}

// What a body costs is a small multiple of its size, however many values are in it: of
// an object's names the most, which are compared with each other.
func TestABodyCostsAFewTimesItsSize(t *testing.T) {
	rig := newHandlersRig(t)
	body := func(args string) string {
		return `{"workspaceId":"ws_001","sql":"select 1","args":[` + args + `]}`
	}
	var names strings.Builder
	for i := range 80_000 {
		fmt.Fprintf(&names, `"%x":1,`, i)
	}
	for name, test := range map[string]struct {
		clients int
		body    string
		status  int
		most    uint64 // times its size
	}{
		"too many arguments": {40, body(strings.Repeat("1,", 499_999) + "1"), http.StatusBadRequest, 12},
		"deep arguments":     {4, body(strings.Repeat("[[[[1]]]],", 60_000) + "1"), http.StatusOK, 20},
		"one large argument": {4, body("[" + strings.Repeat("1,", 499_999) + "1]"), http.StatusOK, 12},
		"many names":         {4, body("{" + names.String() + `"z":1}`), http.StatusOK, 30},
		"most arguments":     {4, body(strings.Repeat(`"aaaaaaaaaaa",`, model.MaxParameters-1) + `"a"`), http.StatusOK, 15},
	} {
		each := rig.together(test.clients, Service, queryPath, test.body, test.status)
		t.Logf("%s: a body of %d bytes costs %.1f times its size", name, len(test.body), float64(each)/float64(len(test.body)))
		if each > test.most*uint64(len(test.body)) {
			t.Errorf("%s: a body of %d bytes costs %d, more than %d times that", name, len(test.body), each, test.most)
		}
	}
}

// While statements run, their arguments are kept once, as they came.
func TestTheArgumentsOfARunningStatementTakeAFewTimesTheirSize(t *testing.T) {
	const clients = 10
	rig := newHandlersRig(t)
	arrived, goOn := make(chan struct{}, clients), make(chan struct{})
	rig.pool.query = func(_ context.Context, q model.Query) (model.QueryResult, error) {
		arrived <- struct{}{}
		<-goOn
		runtime.KeepAlive(q.Args)
		return model.QueryResult{}, nil
	}
	held := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	body := `{"workspaceId":"ws_001","sql":"select 1","args":[` + strings.Repeat(`[[1],2,3,4],`, model.MaxParameters-1) + `1]}`
	before := held()
	var all sync.WaitGroup
	all.Go(func() { rig.together(clients, Service, queryPath, body, http.StatusOK) })
	for range clients {
		<-arrived
	}
	each := (held() - before) / clients
	close(goOn)
	all.Wait()
	t.Logf("each of %d bytes keeps %.1f times its size", len(body), float64(each)/float64(len(body)))
	if each > 8*uint64(len(body)) {
		t.Errorf("each of %d bytes keeps %d", len(body), each)
	}
}
