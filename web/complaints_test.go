package web

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/tenantpool/tenantpool/model"
)

// outOfFiles is a listener of a process that has no file descriptor left, once.
type outOfFiles struct {
	net.Listener
	refused bool
}

func (l *outOfFiles) Accept() (net.Conn, error) {
	if !l.refused {
		l.refused = true
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return l.Listener.Accept()
}

func TestAProcessWithoutFileDescriptorsSaysSo(t *testing.T) {
	s := startShell(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, &outOfFiles{Listener: l}) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	response, err := client.Get("http://" + l.Addr().String() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	said := s.log.with(t, "HTTP server in trouble")
	if len(said) != 1 || said[0]["level"] != "WARN" || said[0]["error"] != "http: Accept error: accept tcp: accept4: too many open files; retrying in 5ms" {
		t.Errorf("%v", said)
	}
}

func TestAPanicOfAnOuterHandlerAndAClientsFaultAreToldApart(t *testing.T) {
	book, log := newLogBook()
	for complaint, level := range map[string]string{
		"http: panic serving 127.0.0.1:5: oh\n\ngoroutine 7":               "ERROR",
		"http2: panic serving 127.0.0.1:5: oh\n\ngoroutine 7":              "ERROR",
		"http: TLS handshake error from 127.0.0.1:5: EOF":                  "DEBUG",
		"http: superfluous response.WriteHeader call from main.f (f.go:1)": "WARN",
	} {
		if n, err := (complaints{log}).Write([]byte(complaint + "\n")); n != len(complaint)+1 || err != nil {
			t.Error(n, err)
		}
		said := book.find(t, func(line map[string]any) bool { return line["error"] == complaint })
		if len(said) != 1 || said[0]["level"] != level {
			t.Errorf("%q: %v", complaint, said)
		}
	}
}

func TestTheAccessLineOfEachRequestThatNamesAWorkspaceNamesItToo(t *testing.T) {
	found := 0
	for _, r := range routes {
		if !strings.Contains(goodBodies[r.path], "workspaceId") {
			continue
		}
		found++
		rig := newHandlersRig(t)
		rig.do(caller(r.path), r.path, goodBodies[r.path])
		var sent workspaceRequest
		if err := json.Unmarshal([]byte(goodBodies[r.path]), &sent); err != nil {
			t.Fatal(err)
		}
		lines := rig.log.with(t, "Request")
		if len(lines) != 1 || lines[0]["workspace_id"] != string(sent.WorkspaceID) || sent.WorkspaceID == "" {
			t.Errorf("%s: %v", r.path, lines)
		}
	}
	if found < 7 {
		t.Errorf("only %d routes", found)
	}
}

func TestTheAccessLineOfAQueryNamesItsWorkspaceAndTheSQLSTATE(t *testing.T) {
	rig := newHandlersRig(t)
	rig.pool.query = func(context.Context, model.Query) (model.QueryResult, error) {
		return model.QueryResult{}, &model.SQLError{Code: "42P01", Message: "relation \"hunter2\" does not exist"}
	}
	rig.do(Service, queryPath, `{"workspaceId":"ws_001","sql":"select * from hunter2"}`)
	missing := &model.DialError{Kind: model.Permanent, Err: refusal{"3D000"}}
	rig.pool.query = func(context.Context, model.Query) (model.QueryResult, error) { return model.QueryResult{}, missing }
	rig.do(Service, queryPath, `{"workspaceId":"ws_002","sql":"select 1"}`)
	rig.do(Service, queryPath, `{"workspaceId":"ws_003","sql":"select 1"}`) // its token does not name it
	got := rig.log.with(t, "Request")
	if len(got) != 3 {
		t.Fatalf("%v", got)
	}
	for i, want := range []map[string]any{
		{"workspace_id": "ws_001", "sqlstate": "42P01", "status": 422.0, "path": queryPath},
		{"workspace_id": "ws_002", "sqlstate": "3D000", "status": 404.0},
		{"workspace_id": "ws_003", "sqlstate": nil, "status": 403.0},
	} {
		for name, value := range want {
			if got[i][name] != value {
				t.Errorf("%d: %s is %v, want %v", i, name, got[i][name], value)
			}
		}
		if took, _ := got[i]["ms"].(float64); took <= 0 {
			t.Errorf("%d: it took %v ms", i, got[i]["ms"])
		}
	}
}
