package web

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
)

// Revocations are the tokens that are refused before they expire. They stand in a
// file, one a line:
//
//	# what is revoked, and why
//	token 5NWG6QDPOVZXGZJAMJSXI5DFOI
//	subject 2026-05-01T03:10:00Z anna
//	all 2026-05-01T03:10:00Z
//
// The first is the token of that id (its claim jti). The second are all tokens of
// the subject that were issued until then (their claim iat), the third those of all
// subjects. Empty lines and lines that begin with # say nothing.
//
// The file is looked at again when somebody asks, at most once a second, and read
// when it has changed. A file that cannot be read changes nothing: what was revoked
// before stays so, and the log says what is wrong.
//
// There is no lock: what was read is never changed, but replaced.
type Revocations struct {
	path  string
	state atomic.Pointer[revocationState]
	// next is when the file is looked at again, in nanoseconds since 1970. Who
	// moves it on is the one who looks.
	next atomic.Int64
}

const (
	// maxRevocations bounds the file, and so the memory: some 30,000 tokens.
	maxRevocations = 1 << 20 // bytes
	// revocationsLook is how often the file is looked at.
	revocationsLook = time.Second
	// revocationsAhead is how far in the future a time may be. One of the next
	// century, by a slip, would lock everybody out who asks for a new token.
	revocationsAhead = 24 * time.Hour
	maxTokenID       = 128 // bytes
)

// revocationState is never changed.
type revocationState struct {
	revoked revoked
	// seen is the file that was last read, good or bad; nil: there was none.
	seen fs.FileInfo
	// problem is why revoked is older than the file; nil: it is not.
	problem error
}

// revoked is what one version of the file says.
type revoked struct {
	tokens   map[string]bool
	subjects map[string]time.Time // tokens that were issued until then
	all      time.Time            // the same, of all subjects; zero: none
}

func (r revoked) holds(who identity) bool {
	until, listed := r.subjects[who.Subject]
	return who.TokenID != "" && r.tokens[who.TokenID] ||
		listed && !who.Issued.After(until) ||
		!r.all.IsZero() && !who.Issued.After(r.all)
}

// ReadRevocations reads the file. It must be there, even if it is empty: a path
// with a slip in it would revoke nothing.
func ReadRevocations(path string) (*Revocations, error) {
	r := &Revocations{path: path}
	r.state.Store(&revocationState{})
	if err := r.Reload(); err != nil {
		return nil, err
	}
	return r, nil
}

// Reload reads the file now. When that fails, all stays as it was.
func (r *Revocations) Reload() error {
	state := r.read()
	r.state.Store(state)
	if state.problem != nil {
		return fmt.Errorf("revocations: %w", state.problem)
	}
	return nil
}

// read returns what is in the file now, or the present state with a problem.
func (r *Revocations) read() *revocationState {
	old := *r.state.Load()
	if about, err := os.Stat(r.path); err == nil && !about.Mode().IsRegular() {
		return &revocationState{old.revoked, nil, fmt.Errorf("%s is no regular file", r.path)} // to open it may block
	}
	file, err := os.Open(r.path)
	if err != nil {
		return &revocationState{old.revoked, nil, err}
	}
	defer func() { _ = file.Close() }()
	seen, err := file.Stat() // before it is read: what is written meanwhile is a change
	if err != nil {
		return &revocationState{old.revoked, nil, err}
	}
	content, err := io.ReadAll(io.LimitReader(file, maxRevocations+1))
	if err == nil && len(content) > maxRevocations {
		err = fmt.Errorf("it has more than %d bytes: remove the tokens that have expired", maxRevocations)
	}
	var now revoked
	if err == nil {
		now, err = parseRevocations(content, time.Now())
	}
	if err != nil {
		return &revocationState{old.revoked, seen, fmt.Errorf("%s: %w", r.path, err)}
	}
	return &revocationState{now, seen, nil}
}

// look reads the file if it has changed, at most once in revocationsLook.
func (r *Revocations) look(log logrus.FieldLogger) {
	now, next := time.Now(), r.next.Load()
	if now.UnixNano() < next || !r.next.CompareAndSwap(next, now.Add(revocationsLook).UnixNano()) {
		return
	}
	old := r.state.Load()
	info, err := os.Stat(r.path)
	if err == nil && old.seen != nil && os.SameFile(info, old.seen) && info.ModTime().Equal(old.seen.ModTime()) && info.Size() == old.seen.Size() {
		return
	}
	state := r.read()
	r.state.Store(state)
	switch {
	case state.problem == nil:
		log.WithFields(logrus.Fields{
			"tokens": len(state.revoked.tokens), "subjects": len(state.revoked.subjects), "all": !state.revoked.all.IsZero(),
		}).Info("Revocations read")
	case old.problem == nil || state.problem.Error() != old.problem.Error():
		log.WithField("error", state.problem.Error()).Error("Revocations cannot be read: those from before stay in force")
	}
}

// holds tells whether the token is revoked; nil revokes none.
func (r *Revocations) holds(who identity, log logrus.FieldLogger) bool {
	if r == nil {
		return false
	}
	r.look(log)
	return r.state.Load().revoked.holds(who)
}

// parseRevocations reads all lines or none.
func parseRevocations(content []byte, now time.Time) (revoked, error) {
	r := revoked{tokens: map[string]bool{}, subjects: map[string]time.Time{}}
	lines := bufio.NewScanner(bytes.NewReader(content))
	for at := 1; lines.Scan(); at++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if err := r.add(line, now); err != nil {
			return revoked{}, fmt.Errorf("line %d: %w", at, err)
		}
	}
	if err := lines.Err(); err != nil {
		return revoked{}, errors.New("a line is longer than 64 KiB")
	}
	return r, nil
}

// add: the latest of several times holds.
func (r *revoked) add(line string, now time.Time) error {
	what, of, _ := strings.Cut(line, " ")
	of = strings.TrimSpace(of)
	switch what {
	case "token":
		if of == "" || !goodTokenID(of) {
			return errors.New("token wants the id of one: tenantpool token inspect prints it")
		}
		r.tokens[of] = true
	case "subject":
		when, subject, _ := strings.Cut(of, " ")
		until, err := revocationTime(when, now)
		if err != nil {
			return err
		}
		if subject = strings.TrimSpace(subject); !goodSubject(subject) {
			return errors.New("subject wants a time and a subject, as: subject 2026-05-01T03:10:00Z anna")
		}
		if until.After(r.subjects[subject]) {
			r.subjects[subject] = until
		}
	case "all":
		until, err := revocationTime(of, now)
		if err != nil {
			return err
		}
		if until.After(r.all) {
			r.all = until
		}
	default:
		return errors.New("it must begin with token, subject, all or #")
	}
	return nil
}

func revocationTime(s string, now time.Time) (time.Time, error) {
	until, err := time.Parse(time.RFC3339, s)
	switch {
	case err != nil:
		return time.Time{}, errors.New("the time must be as 2026-05-01T03:10:00Z (date -u +%FT%TZ prints the present one)")
	case until.After(now.Add(revocationsAhead)):
		return time.Time{}, fmt.Errorf("the time is more than %v in the future: tokens issued until then would all be refused", revocationsAhead)
	}
	return until, nil
}
