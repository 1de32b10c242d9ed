package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

func TestADumpIsAFileToKeep(t *testing.T) {
	rig := newHandlersRig(t)
	for _, body := range []string{"{}", ""} {
		request := rig.request(Operator, "/api/admin.dump", body)
		request.Method = http.MethodPost
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != http.StatusOK || string(content) != "PK dump" || response.ContentLength != int64(len("PK dump")) {
			t.Errorf("%q: %d %s %v", body, response.StatusCode, content, err)
		}
		if kind := response.Header.Get("Content-Type"); kind != "application/zip" {
			t.Errorf("%s", kind)
		}
		name, found := strings.CutPrefix(response.Header.Get("Content-Disposition"), `attachment; filename="tenantpool-`)
		if at, err := time.Parse(`20060102T150405Z.zip"`, name); !found || err != nil || time.Since(at).Abs() > time.Minute {
			t.Errorf("%s: %v", response.Header.Get("Content-Disposition"), err)
		}
		if kept := response.Header.Get("Cache-Control"); kept != "no-store" {
			t.Errorf("Cache-Control: %s", kept)
		}
	}
	audits := rig.log.audits(t)
	if len(audits) != 2 || audits[0]["audit"] != "dump" || audits[0]["result"] != "7 bytes" || audits[0]["subject"] != "the operator" {
		t.Errorf("%v", audits)
	}
}

func TestOnlyOperatorsGetADump(t *testing.T) {
	rig := newHandlersRig(t)
	for role, status := range map[Role]int{Viewer: http.StatusForbidden, Service: http.StatusForbidden, "": http.StatusUnauthorized} {
		rig.refused(role, "/api/admin.dump", "{}", status)
	}
	if calls := rig.pool.done(); len(calls) != 0 {
		t.Errorf("%q", calls)
	}
}

func TestADumpThatFailsIsAnErrorAndNotHalfAFile(t *testing.T) {
	rig := newHandlersRig(t)
	fail := func(err error) {
		rig.pool.dump = func(_ context.Context, w io.Writer) error {
			if _, err := io.WriteString(w, "PK half of it"); err != nil {
				return err
			}
			return err
		}
	}
	fail(fmt.Errorf("dump: %w", model.ErrClosed))
	rig.refused(Operator, "/api/admin.dump", "{}", http.StatusServiceUnavailable, "closed")
	rig.audited("dump", "", "failed", "manager is closed")
	fail(errors.New("secret disk"))
	if status, answer := rig.do(Operator, "/api/admin.dump", "{}"); status != http.StatusInternalServerError || strings.Contains(answer, "secret") || strings.Contains(answer, "half of it") {
		t.Errorf("%d %s", status, answer)
	}
}

func TestOneDumpIsMadeAtATimeAndItsTimeIsBounded(t *testing.T) {
	rig := newHandlersRig(t)
	begun, goOn := make(chan time.Duration, 2), make(chan struct{})
	rig.pool.dump = func(ctx context.Context, w io.Writer) error {
		deadline, _ := ctx.Deadline()
		begun <- time.Until(deadline)
		select {
		case <-goOn:
		case <-ctx.Done():
		}
		_, err := io.WriteString(w, "PK")
		return err
	}
	first := make(chan int, 1)
	go func() {
		status, _ := rig.do(Operator, "/api/admin.dump", "{}")
		first <- status
	}()
	if allowed := <-begun; allowed <= 0 || allowed > 30*time.Second {
		t.Errorf("it has %v", allowed)
	}
	rig.refused(Operator, "/api/admin.dump", "{}", http.StatusConflict, "another dump is being made")
	close(goOn)
	if status := <-first; status != http.StatusOK {
		t.Errorf("the first: %d", status)
	}
	soon(t, "the next one is made", func() bool {
		status, _ := rig.do(Operator, "/api/admin.dump", "{}")
		return status == http.StatusOK
	})
}

// Whoever does not take it must not keep the others from theirs for ever.
func TestADumpThatTheClientDoesNotTakeEnds(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	rig := newHandlersRig(t)
	rig.pool.dump = func(_ context.Context, w io.Writer) error {
		_, err := w.Write(make([]byte, 32<<20)) // more than the sockets hold
		return err
	}
	response, err := http.DefaultClient.Do(rig.request(Operator, "/api/admin.dump", "{}").WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.ContentLength != 32<<20 { // so that a client knows of a transfer that broke off
		t.Errorf("Content-Length: %d", response.ContentLength)
	}
	rig.refused(Operator, "/api/admin.dump", "{}", http.StatusConflict, "another dump is being made or sent")
	stop() // it goes away
	soon(t, "the next one is made", func() bool {
		status, _ := rig.do(Operator, "/api/admin.dump", "{}")
		return status == http.StatusOK
	})
}
