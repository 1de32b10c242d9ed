package web

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync"
	"testing"
)

// logBook is what was logged, as JSON lines.
type logBook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBook) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// with are the lines that have the message.
func (b *logBook) with(t *testing.T, message string) []map[string]any {
	t.Helper()
	return b.find(t, func(line map[string]any) bool { return line["message"] == message })
}

// audits are the audit lines.
func (b *logBook) audits(t *testing.T) []map[string]any {
	t.Helper()
	return b.find(t, func(line map[string]any) bool { return line["audit"] != nil })
}

func (b *logBook) find(t *testing.T, wanted func(map[string]any) bool) (found []map[string]any) {
	t.Helper()
	for line := range strings.Lines(b.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if wanted(fields) {
			found = append(found, fields)
		}
	}
	return found
}
