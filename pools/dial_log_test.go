package pools

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

func TestAnOutageOfHoursIsItsBeginningALineAMinuteAndItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := newDialLog(slog.New(slog.NewJSONHandler(&out, nil)))
		said := func(want ...string) {
			t.Helper()
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			out.Reset()
			for i, line := range lines {
				if i >= len(want) || want[i] == "" && line != "" || !strings.Contains(line, want[i]) {
					t.Errorf("line %d of %d is %s, want %q", i, len(lines), line, want)
				}
			}
			if len(lines) != max(1, len(want)) {
				t.Errorf("%d lines, want %q", len(lines), want)
			}
		}
		down := &dialFailure{kind: model.ServerDown, err: errors.New("refused")}
		log.succeeded()
		said("")
		log.failed("a", down)
		said(`"error":"refused"`)
		for range 3 * 60 * 60 {
			time.Sleep(time.Second)
			log.failed("a", down)
		}
		if n := strings.Count(out.String(), "\n"); n != 3*60 {
			t.Errorf("%d lines in three hours", n)
		}
		if n := strings.Count(out.String(), `"suppressed":59`); n != 3*60 {
			t.Errorf("%d lines say how many were left out", n)
		}
		out.Reset()
		time.Sleep(time.Second)
		log.failed("b", down)
		said("")
		log.succeeded()
		said(`"took":"3h0m1s"`)
		log.succeeded()
		said("")
		// The next outage is told at once.
		log.failed("a", down)
		said(`"error":"refused"`)
		log.succeeded()
		said("Dials succeed again")
		// What comes and goes many times in a minute is not told each time, nor is its end.
		for range 100 {
			log.failed("a", down)
			log.succeeded()
		}
		if n := strings.Count(out.String(), "\n"); n > 2*beginsKept {
			t.Errorf("%d lines of what comes and goes", n)
		}
		out.Reset()
		time.Sleep(time.Minute)
		log.failed("a", down)
		said(`"suppressed":9`)
		// One database's trouble is no outage, and does not end with another's success.
		log.failed("x", &dialFailure{kind: model.Permanent, err: errors.New("damaged")})
		said("damaged")
	})
}
