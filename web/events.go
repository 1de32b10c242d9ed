package web

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/tenantpool/tenantpool/model"
)

const (
	// eventBuffer is how many events wait for a slow reader before it loses some.
	eventBuffer = 256
	// eventHeartbeat is how often a stream on which nothing happens shows that it
	// lives, to the client and to the proxies in between.
	eventHeartbeat = 15 * time.Second
)

// eventAnswer is the data of one event.
type eventAnswer struct {
	At                  time.Time         `json:"at"`
	Kind                model.EventKind   `json:"kind"`
	System              bool              `json:"system,omitempty"`
	WorkspaceID         model.WorkspaceID `json:"workspaceId,omitempty"`
	TookMs              float64           `json:"tookMs,omitempty"`
	Reason              string            `json:"reason,omitempty"`
	IdleForMs           float64           `json:"idleForMs,omitempty"`
	ForWorkspaceID      model.WorkspaceID `json:"forWorkspaceId,omitempty"`
	HeldForMs           float64           `json:"heldForMs,omitempty"`
	Error               string            `json:"error,omitempty"`
	MaxConnections      int               `json:"maxConnections,omitempty"`
	MaxConnectionsPerDB int               `json:"maxConnectionsPerDB,omitempty"`
	// Why says why the limits were set, if the pool did it itself.
	Why   string      `json:"why,omitempty"`
	Level model.Level `json:"level,omitempty"`
	// Lost is how many events before this one the reader was too slow for.
	Lost uint64 `json:"lost,omitempty"`
}

func newEventAnswer(e model.Event) eventAnswer {
	a := eventAnswer{
		At:                  e.At.UTC(),
		Kind:                e.Kind,
		System:              e.System,
		WorkspaceID:         e.Workspace,
		TookMs:              milliseconds(e.Took),
		IdleForMs:           milliseconds(e.IdleFor),
		ForWorkspaceID:      e.For,
		HeldForMs:           milliseconds(e.HeldFor),
		Error:               e.Err,
		MaxConnections:      e.MaxConnections,
		MaxConnectionsPerDB: e.MaxConnectionsPerDB,
		Why:                 e.Why,
		Level:               e.Level,
		Lost:                e.Lost,
	}
	if e.Kind == model.EventEvicted || e.Kind == model.EventClosed { // the zero Reason is one
		a.Reason = e.Reason.String()
	}
	return a
}

// events tells what happens until the client goes away or reads nothing for
// writeTimeout, its token expires, is revoked or loses its key (both are seen within
// eventHeartbeat), or the server or the pool ends. It keeps no history: a client that
// comes back misses what happened meanwhile, and its Last-Event-ID is ignored. The ids
// only number the events of one stream.
//
// The pool never waits for a client: what does not fit into the stream's buffer is
// lost, and the next event says how much that was.
func (s *Server) events(c echo.Context) error {
	header := c.Response().Header()
	header.Set("X-Accel-Buffering", "no")      // or nginx keeps events to itself
	if c.Request().Method == http.MethodHead { // its answer has an end
		header.Set(echo.HeaderContentType, "text/event-stream")
		return c.NoContent(http.StatusOK)
	}
	giveBack, err := s.streams.take(s.identity(c).Subject, "event streams")
	if err != nil {
		return err
	}
	defer giveBack()
	ctx, stop := context.WithCancel(c.Request().Context())
	defer stop() // and the pool closes its side
	if until := s.identity(c).Expires; !until.IsZero() {
		var end context.CancelFunc
		ctx, end = context.WithDeadline(ctx, until)
		defer end()
	}
	events, err := s.pool.Events(ctx, eventBuffer)
	if err != nil {
		return err
	}
	header.Set(echo.HeaderContentType, "text/event-stream")
	c.Response().WriteHeader(http.StatusOK)

	out := &eventStream{server: s, c: c}
	out.comment("connected")
	if out.flush() != nil {
		return nil // the client has gone
	}
	heartbeat := time.NewTicker(eventHeartbeat)
	defer heartbeat.Stop()
	for {
		select {
		case e, open := <-events:
			if !open {
				return nil // the pool is closed, or ctx is done
			}
			out.event(e)
			for range len(events) { // what is there already goes with it
				if e, open = <-events; open {
					out.event(e)
				}
			}
			heartbeat.Reset(eventHeartbeat)
		case <-heartbeat.C:
			out.comment("heartbeat")
		case <-s.ending.Done():
			return nil
		case <-ctx.Done():
			return nil
		}
		if s.access.Load().verifier.withdrawn(s.identity(c)) {
			return nil
		}
		if out.flush() != nil {
			return nil // the client has gone, or does not read
		}
	}
}

// eventStream collects what is written to the client at once.
type eventStream struct {
	server *Server
	c      echo.Context
	last   int // the id of the last event
	buffer bytes.Buffer
}

func (o *eventStream) comment(text string) { fmt.Fprintf(&o.buffer, ": %s\n\n", text) }

func (o *eventStream) event(e model.Event) {
	o.last++
	data, err := json.Marshal(newEventAnswer(e))
	if err != nil { // a time far out of range
		o.server.log.Error("Event could not be encoded", "error", err.Error())
		return
	}
	fmt.Fprintf(&o.buffer, "id: %d\nevent: %s\ndata: %s\n\n", o.last, e.Kind, data)
}

// flush sends what was collected. A client that does not take it in time is given
// up.
func (o *eventStream) flush() error {
	o.server.allowWrite(o.c)
	_, err := o.c.Response().Write(o.buffer.Bytes())
	o.buffer.Reset()
	if err != nil {
		return err
	}
	return http.NewResponseController(o.c.Response()).Flush()
}
