package core

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// Entry is one message of a log and when it arrived. It is small (56 bytes) and of
// one size, so that a supervisor can afford to keep the last ones: an Acquire's
// Caller and all of a DialFailed's Err but its text are left out.
type Entry struct {
	At     time.Duration
	kind   entryKind
	flag   bool   // NoWait, SlotHeld, All
	detail uint8  // Health, FailureKind, 1 for Exclusive
	who    uint64 // lease, operation, Budget
	conn   uint64 // connection, PerWorkspace
	when   int64  // At of a Release
	text   string // workspace, Err
}

type entryKind uint8

const (
	entryTick entryKind = iota
	entryAcquire
	entryCancel
	entryRelease
	entryReclaim
	entryDialSucceeded
	entryDialFailed
	entryClosed
	entryEvict
	entryRenew
	entryPause
	entryResume
	entrySetLimits
	entryDrain
)

// Set makes the Entry one of a message that arrived at that time. It fills it in
// place, because a copy of what was just written in parts takes as long again.
func (e *Entry) Set(at time.Duration, m Message) {
	*e = Entry{At: at}
	switch m := m.(type) {
	case Acquire:
		e.kind, e.who, e.text, e.flag = entryAcquire, uint64(m.Lease), string(m.Workspace), m.NoWait
		if m.Exclusive {
			e.detail = 1
		}
	case Cancel:
		e.kind, e.who = entryCancel, uint64(m.Lease)
	case Release:
		e.kind, e.who, e.conn, e.detail = entryRelease, uint64(m.Lease), uint64(m.Conn), uint8(m.Health)
		e.when = int64(m.At)
	case Reclaim:
		e.kind = entryReclaim
	case DialSucceeded:
		e.kind, e.conn = entryDialSucceeded, uint64(m.Conn)
	case DialFailed:
		e.kind, e.conn, e.detail, e.flag = entryDialFailed, uint64(m.Conn), uint8(m.Kind), m.SlotHeld
		if m.Err != nil {
			e.text = m.Err.Error()
		}
	case Closed:
		e.kind, e.conn = entryClosed, uint64(m.Conn)
	case Evict:
		e.kind, e.who, e.text = entryEvict, uint64(m.Operation), string(m.Workspace)
	case Renew:
		e.kind, e.who, e.text, e.flag = entryRenew, uint64(m.Operation), string(m.Workspace), m.All
	case Pause:
		e.kind, e.who, e.text = entryPause, uint64(m.Operation), string(m.Workspace)
	case Resume:
		e.kind, e.text = entryResume, string(m.Workspace)
	case SetLimits:
		e.kind, e.who, e.conn = entrySetLimits, uint64(m.Budget), uint64(m.PerWorkspace)
	case Drain:
		e.kind = entryDrain
	case Tick:
		e.kind = entryTick
	default: // as in Step
		panic("model: unknown message")
	}
}

// Message returns the message.
func (e Entry) Message() Message {
	lease, conn, workspace := LeaseID(e.who), ConnID(e.conn), model.WorkspaceID(e.text)
	switch e.kind {
	case entryAcquire:
		return Acquire{Lease: lease, Workspace: workspace, NoWait: e.flag, Exclusive: e.detail == 1}
	case entryCancel:
		return Cancel{lease}
	case entryRelease:
		return Release{Lease: lease, Conn: conn, Health: Health(e.detail), At: time.Duration(e.when)}
	case entryReclaim:
		return Reclaim{}
	case entryDialSucceeded:
		return DialSucceeded{conn}
	case entryDialFailed:
		return DialFailed{Conn: conn, Kind: model.FailureKind(e.detail), Err: errors.New(e.text), SlotHeld: e.flag}
	case entryClosed:
		return Closed{conn}
	case entryEvict:
		return Evict{OperationID(e.who), workspace}
	case entryRenew:
		return Renew{OperationID(e.who), workspace, e.flag}
	case entryPause:
		return Pause{OperationID(e.who), workspace}
	case entryResume:
		return Resume{workspace}
	case entrySetLimits:
		return SetLimits{int(e.who), int(e.conn)}
	case entryDrain:
		return Drain{}
	}
	return Tick{}
}

// entryKinds are the names of the messages in a log, and how they are read.
var entryKinds = [...]struct {
	name string
	read func([]byte) (Message, error)
}{
	entryTick:          {"Tick", read[Tick]},
	entryAcquire:       {"Acquire", read[Acquire]},
	entryCancel:        {"Cancel", read[Cancel]},
	entryRelease:       {"Release", read[Release]},
	entryReclaim:       {"Reclaim", read[Reclaim]},
	entryDialSucceeded: {"DialSucceeded", read[DialSucceeded]},
	entryDialFailed:    {"DialFailed", readDialFailed},
	entryClosed:        {"Closed", read[Closed]},
	entryEvict:         {"Evict", read[Evict]},
	entryRenew:         {"Renew", read[Renew]},
	entryPause:         {"Pause", read[Pause]},
	entryResume:        {"Resume", read[Resume]},
	entrySetLimits:     {"SetLimits", read[SetLimits]},
	entryDrain:         {"Drain", read[Drain]},
}

func read[M Message](data []byte) (Message, error) {
	var m M
	err := json.Unmarshal(data, &m)
	return m, err
}

// dialFailedJSON is a DialFailed whose error is its text.
type dialFailedJSON struct {
	Conn     ConnID
	Kind     model.FailureKind
	Err      errorText
	SlotHeld bool `json:",omitzero"`
}

func readDialFailed(data []byte) (Message, error) {
	var m dialFailedJSON
	err := json.Unmarshal(data, &m)
	return DialFailed{m.Conn, m.Kind, m.Err.error, m.SlotHeld}, err
}

type entryJSON[M any] struct {
	At      time.Duration
	Kind    string
	Message M `json:",omitempty"`
}

// MarshalJSON writes the time, the message's name and its fields.
func (e Entry) MarshalJSON() ([]byte, error) {
	var m any = e.Message()
	if failed, ok := m.(DialFailed); ok {
		m = dialFailedJSON{failed.Conn, failed.Kind, errorText{failed.Err}, failed.SlotHeld}
	}
	return json.Marshal(entryJSON[any]{e.At, entryKinds[e.kind].name, m})
}

// UnmarshalJSON reads what MarshalJSON writes, and refuses what no State can be
// told.
func (e *Entry) UnmarshalJSON(data []byte) error {
	var in entryJSON[json.RawMessage]
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	for _, kind := range entryKinds {
		if kind.name != in.Kind {
			continue
		}
		m, err := kind.read(in.Message)
		if err == nil {
			err = possible(in.At, m)
		}
		if err != nil {
			return fmt.Errorf("%s at %v: %w", in.Kind, in.At, err)
		}
		e.Set(in.At, m)
		return nil
	}
	return fmt.Errorf("there is no message %q", in.Kind)
}

// possible tells what is wrong with a message from a file.
func possible(at time.Duration, m Message) error {
	if at < -mostTime || at > mostTime {
		return errors.New("the time is out of range")
	}
	switch m := m.(type) {
	case Release:
		if m.Health > Lost {
			return fmt.Errorf("there is no health %d", m.Health)
		}
	case DialFailed:
		if m.Kind > model.ServerFull {
			return fmt.Errorf("there is no kind of failure %d", m.Kind)
		}
	case SetLimits:
		return validateLimits(model.Limits{Budget: m.Budget, PerWorkspace: m.PerWorkspace})
	}
	return nil
}
