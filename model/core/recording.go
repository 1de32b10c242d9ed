package core

import "time"

// Recording is what a State was told of late, and the state that it began in. A
// State that is made of the Image, and told the Entries, does and becomes exactly
// what the recorded one did and became.
type Recording struct {
	// System marks the share of the system database.
	System bool
	// Start is what the times count from, End when the recording was handed out.
	Start   time.Time
	End     time.Duration
	Image   Image
	Entries []Entry
}
