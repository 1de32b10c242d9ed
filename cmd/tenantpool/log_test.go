package main

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

func TestTheLogIsWhatTheEnvironmentAsksFor(t *testing.T) {
	milliseconds := regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-])`)
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
				if !strings.HasPrefix(line, "time=") || !milliseconds.MatchString(line) || !strings.Contains(line, " level=error msg=said\n") {
					t.Errorf("%q", line)
				}
				levels = append(levels, "error")
				continue
			}
			var said struct{ Time, Level, Message string }
			if err := json.Unmarshal([]byte(line), &said); err != nil || !milliseconds.MatchString(said.Time) || said.Message != "said" {
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
func (s *served) with(message string) []map[string]any {
	s.t.Helper()
	return linesWith(s.t, s.said, message)
}

// linesWith has each line, not only those with the message, be one of the log.
func linesWith(t *testing.T, lines []string, message string) (found []map[string]any) {
	t.Helper()
	for _, line := range lines {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		for _, name := range []string{"time", "level", "message"} {
			if text, _ := fields[name].(string); text == "" {
				t.Errorf("no %s: %s", name, line)
			}
		}
		if fields["message"] == message {
			found = append(found, fields)
		}
	}
	return found
}

// whyEnded is the error in the last line of a log, and nothing if another line has it,
// too.
func whyEnded(t *testing.T, stderr string) string {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	ended := linesWith(t, lines, "Ended by an error")
	if len(ended) != 1 || !strings.Contains(lines[len(lines)-1], `"message":"Ended by an error"`) || ended[0]["level"] != "error" {
		t.Errorf("its last word is not why it ended:\n%s", stderr)
		return ""
	}
	why, _ := ended[0]["error"].(string)
	return why
}
