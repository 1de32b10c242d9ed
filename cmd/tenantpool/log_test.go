package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestTheLogIsWhatTheEnvironmentAsksFor(t *testing.T) {
	for _, test := range []struct{ level, format, want string }{
		{"", "", "info warning error"},
		{"debug", "json", "debug info warning error"},
		{"WARN", "JSON", "warning error"},
		{"error", "text", "error"},
	} {
		t.Setenv("LOG_LEVEL", test.level)
		t.Setenv("LOG_FORMAT", test.format)
		var out bytes.Buffer
		log, err := logFromEnv(&out)
		if err != nil {
			t.Fatal(err)
		}
		log.Debug("said")
		log.Info("said")
		log.Warn("said")
		log.Error("said")
		var levels []string
		for line := range strings.Lines(out.String()) {
			if test.format == "text" {
				if !strings.HasPrefix(line, "time=") || !strings.Contains(line, " level=error msg=said\n") {
					t.Errorf("%q", line)
				}
				levels = append(levels, "error")
				continue
			}
			var said struct{ Time, Level, Message string }
			if err := json.Unmarshal([]byte(line), &said); err != nil || said.Time == "" || said.Message != "said" {
				t.Errorf("%v: %s", err, line)
			}
			levels = append(levels, said.Level)
		}
		if got := strings.Join(levels, " "); got != test.want {
			t.Errorf("at %q, in %q: %s, want %s", test.level, test.format, got, test.want)
		}
	}
}

// with are the lines of its log that have the message.
func (s *served) with(message string) (found []map[string]any) {
	s.t.Helper()
	for _, line := range s.said {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			s.t.Fatalf("%v: %s", err, line)
		}
		for _, name := range []string{"time", "level", "message"} {
			if text, _ := fields[name].(string); text == "" {
				s.t.Errorf("no %s: %s", name, line)
			}
		}
		if fields["message"] == message {
			found = append(found, fields)
		}
	}
	return found
}
