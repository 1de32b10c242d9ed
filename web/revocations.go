package web

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"time"
)

// Revocations are the tokens that are refused before they expire. They stand in a
// file, one a line:
//
//	# what is revoked, and why
//	token 5NWG6QDPOVZXGZJAMJSXI5DFOI  # stolen
//	subject 2026-05-01T03:10:00Z anna
//	all 2026-05-01T03:10:00Z
//
// The first is the token of that id (its claim jti), as Issue makes them. The second are
// all tokens of the subject that were issued until then (their claim iat), the third
// those of all subjects. A # at the beginning of a line or after a space begins a
// comment.
//
// The file is looked at again when somebody asks, at most once a second, and read
// when it has changed. What it revokes is refused from then on; what it revokes no
// more is let in again only after the next look has found the same file, which may
// have been empty because somebody was just writing it. A file that cannot be read
// changes nothing: what was revoked before stays so, and the log says what is wrong.
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
	comment          = " #"
)

// ownTokenID is what rand.Text makes, which Issue calls. A token of another id cannot be
// revoked by it: any word could be one, so a slip in the file could not be told from it.
var ownTokenID = regexp.MustCompile(`^[A-Z2-7]{26}$`)

// revocationState is never changed.
type revocationState struct {
	// revoked is in force.
	revoked revoked
	// next is what the file says, if that is less than revoked: in force once another
	// look has found the same file. nil: nothing is to change.
	next *revoked
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

// and is all that either of the two revokes.
func (r revoked) and(other revoked) revoked {
	both := revoked{maps.Clone(r.tokens), maps.Clone(r.subjects), r.all}
	maps.Copy(both.tokens, other.tokens)
	for subject, until := range other.subjects {
		both.subjects[subject] = later(until, both.subjects[subject])
	}
	both.all = later(other.all, r.all)
	return both
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// ReadRevocations reads the file. It must be there, even if it is empty: a path
// with a slip in it would revoke nothing.
func ReadRevocations(path string) (*Revocations, error) {
	r := &Revocations{path: path}
	now, seen, err := r.read()
	if err != nil {
		return nil, fmt.Errorf("revocations: %w", err)
	}
	r.state.Store(&revocationState{revoked: now, seen: seen})
	return r, nil
}

// read returns what is in the file now. seen is nil if it could not be opened. Package
// pools/secret opens its files as carefully, but has no use for what was seen of them;
// and this package knows none of pools.
func (r *Revocations) read() (now revoked, seen fs.FileInfo, err error) {
	if about, err := os.Stat(r.path); err == nil && !about.Mode().IsRegular() {
		return revoked{}, nil, fmt.Errorf("%s is not a regular file", r.path) // to open it may block
	}
	file, err := os.Open(r.path)
	if err != nil {
		return revoked{}, nil, err
	}
	defer func() { _ = file.Close() }()
	if seen, err = file.Stat(); err != nil { // before it is read: what is written meanwhile is a change
		return revoked{}, nil, err
	}
	content, err := io.ReadAll(io.LimitReader(file, maxRevocations+1))
	if err == nil && len(content) > maxRevocations {
		err = fmt.Errorf("it has more than %d bytes: remove the tokens that have expired", maxRevocations)
	}
	if err == nil {
		now, err = parseRevocations(content, time.Now())
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", r.path, err)
	}
	return now, seen, err
}

// look reads the file if it has changed, at most once in revocationsLook.
func (r *Revocations) look(log *slog.Logger) {
	now, next := time.Now(), r.next.Load()
	if now.UnixNano() < next || !r.next.CompareAndSwap(next, now.Add(revocationsLook).UnixNano()) {
		return
	}
	old := *r.state.Load()
	info, err := os.Stat(r.path)
	if err == nil && old.seen != nil && os.SameFile(info, old.seen) && info.ModTime().Equal(old.seen.ModTime()) && info.Size() == old.seen.Size() {
		if old.next != nil {
			r.state.Store(&revocationState{revoked: *old.next, seen: old.seen})
		}
		return
	}
	says, seen, err := r.read()
	if err != nil {
		r.state.Store(&revocationState{revoked: old.revoked, seen: seen, problem: err})
		if old.problem == nil || err.Error() != old.problem.Error() {
			log.Error("Revocations cannot be read: those from before stay in force", "error", err.Error())
		}
		return
	}
	r.state.Store(&revocationState{revoked: says.and(old.revoked), next: &says, seen: seen})
	log.Info("Revocations read", "tokens", len(says.tokens), "subjects", len(says.subjects), "all", !says.all.IsZero())
}

// holds tells whether the token is revoked; nil revokes none.
func (r *Revocations) holds(who identity, log *slog.Logger) bool {
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
		line, _, _ := strings.Cut(" "+strings.TrimSpace(lines.Text()), comment)
		line = strings.TrimSpace(line)
		if line == "" {
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
		if !ownTokenID.MatchString(of) {
			return errors.New("token wants the id of one, 26 of A-Z and 2-7: tenantpool token inspect prints the line")
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
		r.subjects[subject] = later(until, r.subjects[subject])
	case "all":
		until, err := revocationTime(of, now)
		if err != nil {
			return err
		}
		r.all = later(until, r.all)
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
