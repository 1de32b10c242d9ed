package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
)

// readJSON reads the request's body, which must be one JSON object of into's
// fields. Numbers in fields of type any become json.Number.
func (s *Server) readJSON(c echo.Context, into any) error {
	r := c.Request()
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return &failure{status: http.StatusUnsupportedMediaType, message: "the body must be JSON: set Content-Type to application/json"}
	}
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		return s.badBody(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		if err != nil {
			return s.badBody(err)
		}
		return badRequest("the body must be one JSON object, and there is more")
	}
	deadlines{c}.body(time.Time{}) // all is read
	return nil
}

// readNothing reads an emptyRequest, if there is one.
func (s *Server) readNothing(c echo.Context) error {
	if c.Request().Body == http.NoBody {
		return nil
	}
	var r *emptyRequest
	if err := s.readJSON(c, &r); err != nil {
		return err
	}
	if r == nil {
		return badRequest("the body must be a JSON object, not null")
	}
	return nil
}

// badBody says what is wrong in the words of the API.
func (s *Server) badBody(err error) error {
	var tooLarge *http.MaxBytesError
	var wrongType *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &tooLarge):
		return &failure{
			status:  http.StatusRequestEntityTooLarge,
			message: fmt.Sprintf("the body is larger than %d bytes", tooLarge.Limit),
		}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &failure{status: http.StatusRequestTimeout, message: fmt.Sprintf("the body did not come within %v", bodyTimeout)}
	case errors.As(err, &wrongType) && wrongType.Field != "":
		return badRequest("the field %q cannot be a JSON %s", wrongType.Field, shortened(wrongType.Value))
	case errors.As(err, &wrongType):
		return badRequest("the body must be a JSON object, not a JSON %s", shortened(wrongType.Value))
	case errors.As(err, &syntax):
		return badRequest("the body is not JSON: at byte %d: %v", syntax.Offset, syntax)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return badRequest("the body is empty or ends too early: it must be a JSON object")
	}
	if name, found := strings.CutPrefix(err.Error(), "json: unknown field "); found {
		return badRequest("there is no field %s here", shortened(name))
	}
	return &failure{status: http.StatusBadRequest, message: "the body cannot be read", cause: err}
}

// shortened keeps what a client sent from filling the answer and the log.
func shortened(s string) string {
	const shown = 80
	if len(s) > shown {
		return s[:shown] + "..."
	}
	return s
}

// requestBody is the body of a request, and knows whether more of it may come: not
// after its end, nor after its time is over.
type requestBody struct {
	io.ReadCloser
	ended bool
}

func (b *requestBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.ended = b.ended || errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded)
	return n, err
}

// lingerTimeout is how long a client may go on with a body that nobody reads, so
// that it is done sending and takes the answer.
const lingerTimeout = 500 * time.Millisecond

// giveUp lets an answer go out that came before the body's end. net/http would wait
// for the rest, to use the connection again: a client without a token could make it
// wait for bodyTimeout. So the connection is closed after the answer.
func (b *requestBody) giveUp(c echo.Context) {
	if b.ended || c.Request().ProtoMajor != 1 {
		return
	}
	c.Response().Header().Set("Connection", "close")
	deadlines{c}.body(time.Now().Add(lingerTimeout))
}

// deadlines bound how long a client may take over one request. On a response
// that knows no deadlines (in a test) there are none.
type deadlines struct{ c echo.Context }

// body is until when the request's body must have come.
func (d deadlines) body(until time.Time) {
	_ = http.NewResponseController(d.c.Response()).SetReadDeadline(until)
}

// answer is until when the client must have taken what is written.
func (d deadlines) answer(until time.Time) {
	_ = http.NewResponseController(d.c.Response()).SetWriteDeadline(until)
}

// allowWrite gives what is written next its time. An answer that comes all at
// once has it already; a stream asks before each write, and so lasts as long as
// its reader reads.
func (s *Server) allowWrite(c echo.Context) { deadlines{c}.answer(time.Now().Add(writeTimeout)) }
