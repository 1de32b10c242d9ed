package work

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// State is how far the work in one workspace has come.
type State string

const (
	// Begun: it may have been done, or a part of it.
	Begun State = "begun"
	// Committing: the transaction of the entry's XID has done it, if it was committed.
	Committing State = "committing"
	Done       State = "done"
	// Failed: it has left nothing behind, unless it was not in a transaction.
	Failed State = "failed"
	// Uncertain: nobody knows whether it was done; it is done again only on request.
	Uncertain State = "uncertain"
	// NotBegun is not in any journal.
	NotBegun State = "not begun"
)

// Journal is a file of JSON lines: a header, and an entry for each step of a workspace.
// What append has returned for survives a crash of the machine. One process at a time has
// it open.
type Journal struct {
	file   *os.File
	name   string
	header *header // nil: it is new
	latest map[model.WorkspaceID]entry
	prefix string

	todo  chan request
	ended chan struct{}
	err   error // of the goroutine that writes: nothing can be appended after it
}

// header says what a journal is about. With another work, or another server, it would
// prove nothing.
type header struct {
	Version int `json:"tenantpool_exec"`
	// Sum is the task's, Server the server's system identifier, Prefix DB_PREFIX.
	Sum    string `json:"sum"`
	Server string `json:"server"`
	Prefix string `json:"prefix"`
}

const (
	journalVersion = 1
	headerBegins   = `{"tenantpool_exec":`
)

type entry struct {
	At        time.Time         `json:"at"`
	Workspace model.WorkspaceID `json:"workspace"`
	State     State             `json:"state"`
	// XID is the transaction, Timeline the server's history that it is part of.
	XID      string `json:"xid,omitempty"`
	Timeline string `json:"timeline,omitempty"`
	Error    string `json:"error,omitempty"`
}

type request struct {
	entry entry
	done  chan error
}

func notWritten(err error) error { return fmt.Errorf("write the journal: %w", err) }

// OpenJournal opens the file, or creates it, and keeps others out of it until Close. A last
// line that was being written when its process was killed is removed. prefix is DB_PREFIX.
func OpenJournal(name, prefix string) (_ *Journal, err error) {
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("journal: %w: name a file that can be written, in a directory that exists", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("journal %s: %w", name, err), file.Close())
		}
	}()
	if err := lock(file); err != nil {
		return nil, err
	}
	j := &Journal{
		file: file, name: name, prefix: prefix, latest: make(map[model.WorkspaceID]entry),
		todo: make(chan request), ended: make(chan struct{}),
	}
	text, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	whole, err := j.read(text)
	if err != nil {
		return nil, err
	}
	if whole < len(text) {
		if err := file.Truncate(int64(whole)); err != nil {
			return nil, err
		}
	}
	if _, err := file.Seek(int64(whole), io.SeekStart); err != nil {
		return nil, err
	}
	go j.write()
	return j, nil
}

// read returns how many bytes are whole lines.
func (j *Journal) read(text []byte) (whole int, err error) {
	for number := 1; ; number++ {
		line, rest, terminated := bytes.Cut(text[whole:], []byte("\n"))
		switch {
		case terminated:
		case number > 1, bytes.HasPrefix(line, []byte(headerBegins)), strings.HasPrefix(headerBegins, string(line)):
			return whole, nil
		default:
			return 0, errors.New("it is some other file: name a new one")
		}
		if err := j.learn(number, line); err != nil {
			if len(rest) == 0 && number > 1 { // torn by a crash of the machine
				return whole, nil
			}
			return 0, fmt.Errorf("line %d is none of a journal's: %w: name another file, or a new one", number, err)
		}
		whole += len(line) + 1
	}
}

func (j *Journal) learn(number int, line []byte) error {
	if number == 1 {
		j.header = &header{}
		err := decode(line, j.header)
		if err == nil && j.header.Version != journalVersion {
			err = fmt.Errorf("it is of version %d, and this program writes version %d", j.header.Version, journalVersion)
		}
		return err
	}
	var e entry
	if err := decode(line, &e); err != nil {
		return err
	}
	j.latest[e.Workspace] = e
	return nil
}

// decode takes no field that it does not know, and nothing beside the one value.
func decode(line []byte, into any) error {
	if !json.Valid(line) {
		return errors.New("it is not JSON")
	}
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}

// last is the latest entry of the workspace, before this run; the zero value if there is
// none.
func (j *Journal) last(id model.WorkspaceID) entry {
	if j == nil {
		return entry{}
	}
	return j.latest[id]
}

// Earlier is what the journal said of the workspace when it was opened; NotBegun if
// nothing.
func (j *Journal) Earlier(id model.WorkspaceID) State {
	if e := j.last(id); e.State != "" {
		return e.State
	}
	return NotBegun
}

// Check refuses a journal of another work.
func (j *Journal) Check(sum string) error {
	switch {
	case j == nil || j.header == nil:
		return nil
	case j.header.Sum != sum:
		return fmt.Errorf("journal %s is of other work (%s, and this is %s): repeat the command line and the SQL it was begun with, or name a new file", j.name, j.header.Sum, sum)
	case j.header.Prefix != j.prefix:
		return fmt.Errorf("journal %s is of the workspaces of DB_PREFIX %q, and this run is of %q: set that, or name a new file", j.name, j.header.Prefix, j.prefix)
	}
	return nil
}

// begin checks the header, or writes it.
func (j *Journal) begin(h header) error {
	if j == nil {
		return nil
	}
	if err := j.Check(h.Sum); err != nil {
		return err
	}
	if j.header != nil {
		if j.header.Server != h.Server {
			return fmt.Errorf("journal %s is of the server with the system identifier %s, and this one has %s: connect to that server, or name a new file", j.name, j.header.Server, h.Server)
		}
		return nil
	}
	h.Version, h.Prefix = journalVersion, j.prefix
	line, err := json.Marshal(h)
	if err == nil {
		_, err = j.file.Write(append(line, '\n'))
	}
	if err == nil {
		err = j.file.Sync()
	}
	if err == nil {
		err = syncFolder(filepath.Dir(j.name))
	}
	if err != nil {
		return notWritten(err)
	}
	return nil
}

// syncFolder makes a new file's name last.
func syncFolder(name string) error {
	folder, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// append returns when the entry is on the disk.
func (j *Journal) append(e entry) error {
	if j == nil {
		return nil
	}
	e.At = time.Now().UTC().Truncate(time.Millisecond)
	r := request{e, make(chan error, 1)}
	j.todo <- r
	return <-r.done
}

// write owns the file. What comes while the disk is busy goes there together.
func (j *Journal) write() {
	defer close(j.ended)
	for first := range j.todo {
		all := []request{first}
		for more := true; more; {
			select {
			case r, open := <-j.todo:
				if more = open; open {
					all = append(all, r)
				}
			default:
				more = false
			}
		}
		if j.err == nil {
			j.err = j.save(all)
		}
		for _, r := range all {
			r.done <- j.err
		}
	}
}

func (j *Journal) save(all []request) error {
	var lines []byte
	for _, r := range all {
		line, err := json.Marshal(r.entry)
		if err != nil {
			return notWritten(err)
		}
		lines = append(append(lines, line...), '\n')
	}
	if _, err := j.file.Write(lines); err != nil {
		return notWritten(err)
	}
	if err := j.file.Sync(); err != nil {
		return notWritten(err)
	}
	return nil
}

// Close lets others have the file. Nobody appends any more.
func (j *Journal) Close() error {
	if j == nil {
		return nil
	}
	close(j.todo)
	<-j.ended
	return j.file.Close()
}
