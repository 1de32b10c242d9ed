package core

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Recording is what a State was told of late, and the state that it was in before. A
// State that is made of the Image and told the Entries does and becomes exactly what
// the recorded one did and became.
type Recording struct {
	// System marks the share of the system database.
	System bool
	// Start is what the times count from, End when the recording was handed out.
	Start   time.Time
	End     time.Duration
	Image   Image
	Entries []Entry
}

// Entry is one message of a Recording and when it arrived. JSON has no Caller of it, and
// of an error only the text. The two most frequent ones need no memory of their own.
type Entry struct {
	At      time.Duration
	Acquire Acquire // the message, if its Lease is not 0
	Release Release // the same
	Other   Message // else
}

// Message returns the message.
func (e *Entry) Message() Message {
	switch {
	case e.Acquire.Lease != 0:
		return e.Acquire
	case e.Release.Lease != 0:
		return e.Release
	}
	return e.Other
}

// readers read the messages by their names, which stand in JSON.
var readers = map[string]func([]byte) (Message, error){
	"Acquire": read[Acquire], "Cancel": read[Cancel], "Release": read[Release], "Reclaim": read[Reclaim],
	"DialSucceeded": read[DialSucceeded], "DialFailed": read[DialFailed], "Closed": read[Closed],
	"Evict": read[Evict], "Renew": read[Renew], "Pause": read[Pause], "Resume": read[Resume],
	"SetLimits": read[SetLimits], "SetWorkspaceLimits": read[SetWorkspaceLimits], "Drain": read[Drain], "Tick": read[Tick],
}

func read[M Message](data []byte) (Message, error) {
	var m M
	err := json.Unmarshal(data, &m)
	return m, err
}

type entryJSON[M any] struct {
	At      time.Duration
	Kind    string
	Message M
	Said    string `json:",omitzero"` // by a DialFailed's Err
}

// MarshalJSON writes the time, the message's name and its fields.
func (e Entry) MarshalJSON() ([]byte, error) {
	m := e.Message()
	out := entryJSON[Message]{At: e.At, Kind: nameOf(m), Message: m}
	if failed, ok := m.(DialFailed); ok {
		out.Said = failed.Err.Error()
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (e *Entry) UnmarshalJSON(data []byte) error {
	var in entryJSON[json.RawMessage]
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	read := readers[in.Kind]
	if read == nil {
		return fmt.Errorf("there is no message %q", in.Kind)
	}
	m, err := read(in.Message)
	if failed, ok := m.(DialFailed); ok {
		failed.Err = errors.New(in.Said)
		m = failed
	}
	if err != nil {
		return fmt.Errorf("%s at %v: %w", in.Kind, in.At, err)
	}
	e.At, e.Other = in.At, m
	return nil
}
