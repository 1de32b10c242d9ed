package web

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// ids are of tokens.
var ids = [...]string{1: "AAAAAAAAAAAAAAAAAAAAAAAAAA", "BBBBBBBBBBBBBBBBBBBBBBBBB2", "CCCCCCCCCCCCCCCCCCCCCCCCC7"}

// revocationsFile is a file of revocations that a test changes.
type revocationsFile struct {
	t    *testing.T
	path string
}

func newRevocationsFile(t *testing.T, lines ...string) revocationsFile {
	f := revocationsFile{t, filepath.Join(t.TempDir(), "revoked")}
	f.write(lines...)
	return f
}

// write replaces the file, as an editor does: what reads it sees all or nothing.
func (f revocationsFile) write(lines ...string) {
	f.t.Helper()
	err := os.WriteFile(f.path+".new", []byte(strings.Join(lines, "\n")), 0o600)
	if err = errors.Join(err, os.Rename(f.path+".new", f.path)); err != nil {
		f.t.Fatal(err)
	}
}

func (f revocationsFile) read() *Revocations {
	f.t.Helper()
	r, err := ReadRevocations(f.path)
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

func TestWhatARevocationRefuses(t *testing.T) {
	anna := identity{Subject: "anna", TokenID: ids[1], Issued: midnight}
	for _, test := range []struct {
		lines   string
		revokes bool
	}{
		{"", false},
		{"# token " + ids[1] + "\n\n   \n\t# x\n", false},
		{"token " + ids[1], true},
		{"  token   " + ids[1] + "  ", true},
		{"token " + ids[1] + " # stolen", true},
		{"token " + ids[1] + "   #stolen # twice", true},
		{"token " + ids[2], false},
		{"token " + ids[2] + "\r\ntoken " + ids[1] + "\r\n", true},
		{"subject 2030-01-01T00:00:00Z anna", true}, // issued at that very moment
		{"subject 2029-12-31T23:59:59Z anna", false},
		{"subject 2030-01-01T01:00:00+01:00 anna", true},
		{"subject 2030-01-01T00:00:00Z anna # left", true},
		{"subject 2030-01-01T00:00:00Z anna b.", false},
		{"subject 2030-01-01T00:00:00Z anna#", false},
		{"subject 2030-01-01T00:00:00Z anna\nsubject 2029-01-01T00:00:00Z anna", true}, // the latest holds
		{"all 2030-01-01T00:00:01Z", true},
		{"all 2030-01-01T00:00:01Z # at night", true},
		{"all 2029-12-31T23:59:59Z", false},
		{"all 2030-01-01T00:00:01Z\nall 2029-01-01T00:00:01Z", true},
	} {
		r, err := parseRevocations([]byte(test.lines), midnight)
		if err != nil || r.holds(anna) != test.revokes {
			t.Errorf("%q: %v, %v", test.lines, r.holds(anna), err)
		}
	}
	r, err := parseRevocations([]byte("subject 2030-01-01T00:00:00Z demo  operator#1"), midnight)
	if err != nil || !r.holds(identity{Subject: "demo  operator#1", Issued: midnight}) {
		t.Errorf("a subject with spaces: %v", err)
	}
	if r, _ = parseRevocations([]byte("token "+ids[1]), midnight); r.holds(identity{Subject: "anna"}) {
		t.Error("a token without an id is revoked by id")
	}
	for _, id := range []string{ids[1], "", "6d4f8f3e-27a5-4f0e-a7d5-2f5a2f5a2f5a"} { // another program's
		line := Inspected{ID: id, Subject: "anna"}.Revocation()
		if r, err := parseRevocations([]byte(line), time.Now()); err != nil || !r.holds(identity{Subject: "anna", TokenID: id, Issued: time.Now().Add(-time.Second)}) {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestRevocationsThatMakeNoSenseAreRefusedWithTheirLine(t *testing.T) {
	for lines, want := range map[string]string{
		"ID1":                              "line 1: it must begin with token, subject, all or #",
		"# x\ntoken":                       "line 2: token wants the id of one",
		"token v4\x01":                     "token wants the id of one",
		"token " + ids[1] + "\t# stolen":   "token wants the id of one",
		"token " + ids[1] + " " + ids[2]:   "token wants the id of one",
		"token " + strings.ToLower(ids[1]): "token wants the id of one",
		"token " + ids[1][1:]:              "token wants the id of one",
		"token # " + ids[1]:                "token wants the id of one",
		"subject 2030-01-01T00:00:00Z #1":  "subject wants a time and a subject",
		"subject anna":                     "line 1: the time must be as 2026-",
		"subject 2030-01-01 anna":          "the time must be as 2026-",
		"subject":                          "the time must be as 2026-",
		"all":                              "the time must be as 2026-",
		"all 2030-01-01T00:00:00Z x":       "the time must be as 2026-",
		"subject 2030-01-01T00:00:00Z":     "subject wants a time and a subject",
		"all 2130-01-01T00:00:00Z":         "more than 24h0m0s in the future",
		"token " + ids[1] + "\nall 2030-01-03T00:00:00Z": "line 2: the time is more than",
		"token " + strings.Repeat("a", 129):              "token wants the id",
		strings.Repeat("a", 70_000):                      "a line is longer than 64 KiB",
	} {
		if r, err := parseRevocations([]byte(lines), midnight); err == nil || !strings.Contains(err.Error(), want) || len(r.tokens) > 0 {
			t.Errorf("%.80q: %v, want %s", lines, err, want)
		}
	}
	f := newRevocationsFile(t, strings.Repeat("# far too much\n", maxRevocations/10))
	if _, err := ReadRevocations(f.path); err == nil || !strings.Contains(err.Error(), "more than 1048576 bytes") {
		t.Errorf("a large file: %v", err)
	}
	if _, err := ReadRevocations(f.path + "x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := ReadRevocations(filepath.Dir(f.path)); err == nil {
		t.Error("a folder is read")
	}
}

// Two tokens of anna and one of bert; each step changes the file, and a second later
// tells which are refused.
func TestATokenIsRefusedWithinASecondOfItsRevocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key, now := NewPrivateKey(), time.Now()
		f := newRevocationsFile(t)
		v := verifierAt(now, key)
		book, log := newLogBook()
		v.revocations, v.log = f.read(), log
		first := issued(t, key, Claims{Subject: "anna", Role: Viewer, TTL: time.Hour}, now.Add(-time.Minute))
		second := issued(t, key, Claims{Subject: "anna", Role: Viewer, TTL: time.Hour}, now)
		other := issued(t, key, Claims{Subject: "bert", Role: Viewer, TTL: time.Hour}, now)
		who, err := v.verify(first) // and is known from now on
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			lines   []string
			refused [3]bool
		}{
			{[]string{"token " + who.TokenID}, [3]bool{true, false, false}},
			{[]string{"token " + who.TokenID, "nonsense"}, [3]bool{true, false, false}}, // the old ones stay
			{[]string{"subject " + now.Add(-time.Second).Format(time.RFC3339) + " anna"}, [3]bool{true, false, false}},
			{[]string{"subject " + now.Format(time.RFC3339) + " anna # who left"}, [3]bool{true, true, false}},
			{[]string{"all " + now.Format(time.RFC3339)}, [3]bool{true, true, true}},
			{[]string{""}, [3]bool{true, true, true}}, // it may be only half written
			{nil, [3]bool{}}, // it is not
		} {
			if step.lines != nil {
				f.write(step.lines...)
			}
			time.Sleep(revocationsLook) // of the bubble's time
			for i, token := range []string{first, second, other} {
				var want error
				if step.refused[i] {
					want = errTokenRevoked
				}
				if _, err := v.verify(token); !errors.Is(err, want) {
					t.Errorf("%q, token %d: %v, want %v", step.lines, i, err, want)
				}
			}
		}
		if got := len(book.with(t, "Revocations read")); got != 5 {
			t.Errorf("%d times read, of 5 good versions", got)
		}
	})
}

func TestAFileThatCannotBeReadRevokesWhatItDidAndIsToldOfOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newRevocationsFile(t, "token "+ids[1])
		r := f.read()
		book, log := newLogBook()
		stolen := identity{Subject: "anna", TokenID: ids[1], Issued: midnight}
		held := func(when string, complaints int) {
			t.Helper()
			for range 3 {
				time.Sleep(revocationsLook)
				if !r.holds(stolen, log) {
					t.Errorf("%s: the token is good again", when)
				}
			}
			if got := book.with(t, "Revocations cannot be read: those from before stay in force"); len(got) != complaints {
				t.Errorf("%s: %v", when, got)
			}
		}
		held("at first", 0)
		f.write("token "+ids[1], "token "+ids[2]+" "+ids[3])
		held("malformed", 1)
		if got := book.with(t, "Revocations cannot be read: those from before stay in force")[0]["error"].(string); !strings.Contains(got, f.path+": line 2: token wants the id") {
			t.Errorf("logged %s", got)
		}
		if _, err := ReadRevocations(f.path); err == nil || !strings.Contains(err.Error(), f.path+": line 2") {
			t.Errorf("at the start: %v", err)
		}
		_ = os.Remove(f.path)
		held("gone", 2)
		f.write("token " + ids[2])
		time.Sleep(revocationsLook)
		if !r.holds(identity{TokenID: ids[2]}, log) {
			t.Error("the good file is not read")
		}
		time.Sleep(revocationsLook)
		if r.holds(stolen, log) {
			t.Error("the token is still refused")
		}
	})
}

// Who writes the file in place empties it first.
func TestARevocationIsLiftedOnlyWhenTwoLooksAgree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := []string{
			"token " + ids[1],
			"subject " + time.Now().UTC().Format(time.RFC3339) + " bert",
			"all " + time.Now().UTC().Add(-time.Hour).Format(time.RFC3339),
		}
		f := newRevocationsFile(t, all...)
		r := f.read()
		_, log := newLogBook()
		stolen := []identity{
			{Subject: "anna", TokenID: ids[1], Issued: time.Now()},
			{Subject: "bert", TokenID: ids[2], Issued: time.Now()},
			{Subject: "cleo", TokenID: ids[3], Issued: time.Now().Add(-2 * time.Hour)},
		}
		for i, step := range []struct {
			lines   []string
			refused bool
		}{
			{[]string{}, true},
			{all[:1], true},
			{append(all[:2:2], "all 2026-"), true},
			{all, true},
			{nil, true},
			{[]string{}, true},
			{append(all[:2:2], "all 2026-"), true},
			{nil, true},
			{[]string{}, true},
			{nil, false},
			{all, true},
		} {
			if step.lines != nil {
				f.write(step.lines...)
			}
			time.Sleep(revocationsLook)
			for _, who := range stolen {
				if r.holds(who, log) != step.refused {
					t.Errorf("step %d: of %s refused is %v", i, who.Subject, !step.refused)
				}
			}
		}
	})
}

func TestARevokedTokenOpensNothingMore(t *testing.T) {
	f := newRevocationsFile(t)
	rig := newHandlersRig(t, func(o *Options) { o.Revocations = f.read() })
	if status, body := rig.do(Viewer, statsPath, ""); status != 200 {
		t.Fatal(status, body)
	}
	f.write("all " + time.Now().UTC().Add(time.Hour).Format(time.RFC3339))
	soon(t, "the token is refused", func() bool {
		status, body := rig.do(Viewer, statsPath, "")
		return status == 401 && strings.HasPrefix(body, `{"error":"the token has been revoked","requestId":`)
	})
	if err := rig.server.SetAccess(rig.server.options.Keys, ""); err != nil {
		t.Fatal(err)
	}
	rig.refused(Viewer, statsPath, "", 401, "the token has been revoked") // after new keys, too
}

// endsWithinAHeartbeat fails the test when the stream goes on, and ends it.
func endsWithinAHeartbeat(t *testing.T, pool *fakePool, ended <-chan struct{}) {
	t.Helper()
	time.Sleep(eventHeartbeat)
	synctest.Wait()
	select {
	case <-ended:
	default:
		t.Error("it goes on")
		pool.Close(t.Context())
		<-ended
	}
}

func TestAStreamEndsSoonAfterItsTokenIsRevoked(t *testing.T) {
	f := newRevocationsFile(t)
	who := identity{Subject: "anna", TokenID: ids[1], Expires: midnight.AddDate(100, 0, 0)}
	inBubble(t, who, func(pool *fakePool, _ *memoryStream, ended <-chan struct{}) {
		time.Sleep(time.Minute)
		f.write("token " + ids[1])
		endsWithinAHeartbeat(t, pool, ended)
	}, func(s *Server) {
		access := *s.access.Load()
		_, access.verifier.log = newLogBook()
		access.verifier.revocations = f.read()
		s.access.Store(&access)
	})
}

func TestAStreamEndsSoonAfterItsKeyIsWithdrawn(t *testing.T) {
	var server *Server
	who := identity{Subject: "anna", KeyID: "old", Expires: midnight.AddDate(100, 0, 0)}
	inBubble(t, who, func(pool *fakePool, _ *memoryStream, ended <-chan struct{}) {
		time.Sleep(time.Minute)
		synctest.Wait()
		select {
		case <-ended:
			t.Error("it has ended already")
		default:
		}
		access := *server.access.Load()
		access.verifier.keys = map[string]PublicKey{"new": {}}
		server.access.Store(&access)
		endsWithinAHeartbeat(t, pool, ended)
	}, func(s *Server) {
		access := *s.access.Load()
		access.verifier.keys = map[string]PublicKey{"old": {}, "new": {}}
		s.access.Store(&access)
		server = s
	})
}

func BenchmarkVerifyWithRevocations(b *testing.B) {
	key := NewPrivateKey()
	v := newVerifier(Options{Keys: []PublicKey{key.Public()}, Issuer: DefaultIssuer, Audience: DefaultAudience, MaxTokenTTL: MaxTTL})
	token, err := Issue(key, Claims{Subject: "anna", Role: Service, Workspaces: []model.WorkspaceID{"a"}, TTL: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(b.TempDir(), "revoked")
	if err := os.WriteFile(path, []byte(strings.Repeat("token 5NWG6QDPOVZXGZJAMJSXI5DFOI\n", 10_000)), 0o600); err != nil {
		b.Fatal(err)
	}
	if v.revocations, err = ReadRevocations(path); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := v.verify(token); err != nil {
			b.Fatal(err)
		}
	}
}
