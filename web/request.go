package web

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/labstack/echo/v4"

	"github.com/tenantpool/tenantpool/model"
)

// readJSON reads the request's body, which must be one JSON object of into's fields. It
// is refused if it could be read in more than one way: a name that comes twice or in
// another case, text that is no Unicode, an encoding or a charset. What is read is what
// was sent.
func (s *Server) readJSON(c echo.Context, into any) error {
	body, err := s.readBody(c)
	if err != nil {
		return err
	}
	return s.decode(body, into)
}

// readBody reads all of the body, before anything is made of it: a client that is not done
// sending does not see an answer, and one that is slow costs no more than what it has sent.
func (s *Server) readBody(c echo.Context) ([]byte, error) {
	if err := plainJSON(c); err != nil {
		return nil, err
	}
	var body bytes.Buffer
	if length := c.Request().ContentLength; length > 0 {
		body.Grow(int(min(length, s.options.Query.MaxBody)) + bytes.MinRead)
	}
	if _, err := body.ReadFrom(c.Request().Body); err != nil {
		return nil, s.badBody(err)
	}
	deadlines{c}.body(time.Time{}) // all is read
	return body.Bytes(), nil
}

func (s *Server) decode(body []byte, into any) error {
	if err := json.Unmarshal(body, into, json.RejectUnknownMembers(true)); err != nil {
		return s.badBody(err)
	}
	if jsontext.Value(body).Kind() == jsontext.KindNull {
		return badRequest("the body must be a JSON object, not null")
	}
	return nil
}

// plainJSON refuses what the headers say of the body.
func plainJSON(c echo.Context) error {
	header := c.Request().Header
	several := len(header.Values(echo.HeaderContentType)) > 1
	kind, params, err := mime.ParseMediaType(header.Get(echo.HeaderContentType))
	if charset, given := params["charset"]; err != nil || several || kind != "application/json" || given && !strings.EqualFold(charset, "utf-8") {
		return &failure{status: http.StatusUnsupportedMediaType, message: "the body must be JSON in UTF-8: set Content-Type to application/json"}
	}
	for _, encoding := range header.Values(echo.HeaderContentEncoding) {
		if encoding != "" && !strings.EqualFold(encoding, "identity") {
			c.Response().Header().Set(echo.HeaderAcceptEncoding, "identity")
			return &failure{status: http.StatusUnsupportedMediaType, message: "the body must not be compressed: send it without Content-Encoding"}
		}
	}
	return nil
}

// readWorkspace reads a body that names a workspace and says nothing else.
func (s *Server) readWorkspace(c echo.Context) (model.WorkspaceID, error) {
	var r workspaceRequest
	if err := s.readJSON(c, &r); err != nil {
		return "", err
	}
	return r.WorkspaceID, namesWorkspace(c, r.WorkspaceID)
}

// namesWorkspace refuses what is no id of a workspace, and notes for the access log what
// is one.
func namesWorkspace(c echo.Context, id model.WorkspaceID) error {
	if id == "" {
		return badRequest("workspaceId is required")
	}
	if err := id.Validate(); err != nil {
		return badRequest("workspaceId is not valid: %v", err)
	}
	c.Set(workspaceKey, string(id))
	return nil
}

// readNothing reads an emptyRequest, if there is one.
func (s *Server) readNothing(c echo.Context) error {
	if c.Request().Body == http.NoBody {
		return nil
	}
	return s.readJSON(c, &emptyRequest{})
}

// badBody says what is wrong in the words of the API.
func (s *Server) badBody(err error) error {
	var (
		own     *failure
		large   *http.MaxBytesError
		meaning *json.SemanticError
		syntax  *jsontext.SyntacticError
	)
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &large):
		return large
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &failure{status: http.StatusRequestTimeout, message: fmt.Sprintf("the body did not come within %v", bodyTimeout)}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return badRequest("the body is empty or ends too early: it must be a JSON object")
	case errors.As(err, &syntax) && errors.Is(err, jsontext.ErrDuplicateName):
		return badRequest("the name %q comes twice in the body", shortened(fieldPath(syntax.JSONPointer)))
	case errors.As(err, &syntax):
		return badRequest("the body is not JSON: at byte %d: %v", syntax.ByteOffset+1, syntax.Err)
	case errors.As(err, &meaning) && errors.Is(err, json.ErrUnknownName):
		return badRequest("there is no field %q here", shortened(meaning.JSONPointer.LastToken()))
	case errors.As(err, &meaning) && meaning.JSONPointer == "":
		return badRequest("the body must be a JSON object, not a JSON %s", kindName(meaning.JSONKind))
	case errors.As(err, &meaning):
		what := kindName(meaning.JSONKind)
		if meaning.JSONKind == jsontext.KindNumber && len(meaning.JSONValue) > 0 {
			what += " " + string(meaning.JSONValue)
		}
		return badRequest("the field %q cannot be a JSON %s", shortened(fieldPath(meaning.JSONPointer)), shortened(what))
	}
	return &failure{status: http.StatusBadRequest, message: "the body cannot be read", cause: err}
}

// fieldPath is the field's name, after those of the objects that it is in.
func fieldPath(p jsontext.Pointer) string { return strings.Join(slices.Collect(p.Tokens()), ".") }

func kindName(k jsontext.Kind) string {
	switch k {
	case jsontext.KindNull:
		return "null"
	case jsontext.KindTrue, jsontext.KindFalse:
		return "bool"
	case jsontext.KindString:
		return "string"
	case jsontext.KindNumber:
		return "number"
	case jsontext.KindBeginArray:
		return "array"
	}
	return "object"
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
	deadlines{c}.body(time.Now().Add(lingerTimeout))
	// To read past a limit is how net/http is told to close the connection, and to wait
	// with that for a moment: with what was sent unread, a close takes back the answer, too.
	_, _ = http.MaxBytesReader(c.Response().Writer, io.NopCloser(strings.NewReader("x")), 0).Read(make([]byte, 1))
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
