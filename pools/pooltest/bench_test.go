package pooltest_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// BenchmarkWorkspace shows what a test waits for until it has its workspace, in several
// ways that take turns: a copy that was made ahead; the template copied when it is wanted,
// file by file or by the write-ahead log; and a new database that is migrated. The figures
// are medians.
func BenchmarkWorkspace(b *testing.B) {
	ctx := b.Context()
	w := server.Workspace(b)
	if err := w.Ping(ctx); err != nil {
		b.Fatal(err)
	}
	took := make(map[string][]time.Duration)
	measure := func(way string, f func() error) {
		b.Helper()
		before := time.Now()
		if err := f(); err != nil {
			b.Fatal(err)
		}
		took[way] = append(took[way], time.Since(before))
	}
	n := 0
	copied := func(strategy string) func() error {
		return func() error {
			n++
			return server.Superuser(ctx, fmt.Sprintf("CREATE DATABASE pooltest_bench_%d TEMPLATE pooltest_template %s", n, strategy))
		}
	}
	for b.Loop() {
		server.WaitUntilAhead()
		t := &witness{name: "BenchmarkWorkspace"}
		measure("ahead", func() error { server.Workspace(t); return nil })
		measure("returned", func() error { t.end(); return nil })
		server.WaitUntilAhead()
		measure("file_copy", copied("STRATEGY FILE_COPY"))
		measure("wal_log", copied("STRATEGY WAL_LOG"))
		measure("migrated", func() error {
			n++
			id := model.WorkspaceID(fmt.Sprintf("bench-%d", n))
			if err := server.Manager(b).CreateWorkspace(ctx, id); err != nil {
				return err
			}
			return migrate(ctx, server.Manager(b).Workspace(id))
		})
	}
	for way, all := range took {
		slices.Sort(all)
		b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, way+"-ms")
	}
}

// BenchmarkTests is a test after the other, none of which does anything but one statement:
// the bound is how fast copies are made and dropped.
func BenchmarkTests(b *testing.B) {
	server.Workspace(b)
	for b.Loop() {
		t := &witness{name: "BenchmarkTests"}
		if _, err := server.Workspace(t).Exec(context.Background(), `UPDATE customers SET name = 'Bob'`); err != nil {
			b.Fatal(err)
		}
		t.end()
	}
}
