package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/jackc/pgerrcode"
	"github.com/labstack/echo/v4"

	"github.com/tenantpool/tenantpool/model"
)

type queryRequest struct {
	WorkspaceID model.WorkspaceID `json:"workspaceId"`
	SQL         string            `json:"sql"`
	// Args are the values of $1, $2, ...; an array or an object is sent as JSON.
	Args     arguments `json:"args,omitempty"`
	ReadOnly bool      `json:"readOnly,omitempty"`
	// TimeoutMs is how long the statement may take, the wait for a connection
	// included; not given: as long as the server allows at most.
	TimeoutMs *int `json:"timeoutMs,omitempty"`
}

type queryAnswer struct {
	Columns      []columnAnswer `json:"columns"`
	Rows         [][]any        `json:"rows"`
	Command      string         `json:"command"`
	RowsAffected int64          `json:"rowsAffected"`
	// Truncated: there were more rows than the server's limits allow.
	Truncated bool `json:"truncated"`
	// Notices are the server's warnings and notices; NoticesLost is how many more
	// there were.
	Notices     []noticeAnswer `json:"notices,omitempty"`
	NoticesLost int            `json:"noticesLost,omitempty"`
}

type noticeAnswer struct {
	Severity string `json:"severity"`
	Code     string `json:"code"`
	Message  string `json:"message"`
	Detail   string `json:"detail,omitempty"`
	Hint     string `json:"hint,omitempty"`
	// Cut: the texts were longer.
	Cut bool `json:"cut,omitempty"`
}

type columnAnswer struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// sqlErrorAnswer is what PostgreSQL said about the statement.
type sqlErrorAnswer struct {
	errorBody
	Detail string `json:"detail,omitempty"`
	Hint   string `json:"hint,omitempty"`
	// Position is the character in the statement, from 1.
	Position int `json:"position,omitempty"`
}

// arguments are nil, bool, json.Number or string, or the text of an array or an object.
// Nothing more is made of that text here: as a tree it would take many times its size.
type arguments []any

// UnmarshalJSONFrom refuses one argument too many when it comes to it.
func (a *arguments) UnmarshalJSONFrom(in *jsontext.Decoder) error {
	switch in.PeekKind() {
	case jsontext.KindNull:
		return in.SkipValue()
	case jsontext.KindBeginArray:
	default:
		return &jsonv2.SemanticError{JSONKind: in.PeekKind()}
	}
	if _, err := in.ReadToken(); err != nil {
		return err
	}
	for in.PeekKind() != jsontext.KindEndArray {
		if len(*a) == model.MaxParameters {
			return badRequest("args has too many values: it may have %d", model.MaxParameters)
		}
		value, err := in.ReadValue()
		if err != nil {
			return err
		}
		argument, err := argumentOf(value)
		if err != nil {
			return err
		}
		*a = append(*a, argument)
	}
	_, err := in.ReadToken()
	return err
}

// argumentOf copies the value, which is the decoder's.
func argumentOf(value jsontext.Value) (any, error) {
	switch value.Kind() {
	case jsontext.KindNull:
		return nil, nil
	case jsontext.KindTrue:
		return true, nil
	case jsontext.KindFalse:
		return false, nil
	case jsontext.KindNumber:
		return json.Number(value), nil
	case jsontext.KindString:
		text, err := jsontext.AppendUnquote(nil, value)
		return string(text), err
	}
	return json.RawMessage(value.Clone()), nil
}

// query runs one statement. When the client goes away, or the time is over, the
// statement is cancelled.
func (s *Server) query(c echo.Context) error {
	began := time.Now()
	body, err := s.readLarge(c)
	if err != nil {
		return err
	}
	giveBack, err := s.queries.take(s.identity(c).Subject, "statements")
	if err != nil {
		return err
	}
	defer giveBack()
	var r queryRequest
	if err := s.decode(body, &r); err != nil {
		return err
	}
	wrongID := namesWorkspace(c, r.WorkspaceID)
	if r.WorkspaceID == "" {
		return wrongID
	}
	// Before anything else is said about the workspace, that it exists included.
	if !s.identity(c).serves(r.WorkspaceID) {
		return &failure{status: http.StatusForbidden, message: "your token does not name this workspace"}
	}
	if wrongID != nil {
		return wrongID
	}
	limits := s.options.Query
	timeout, err := r.check(limits)
	if err != nil {
		return err
	}
	ctx, stop := context.WithDeadline(c.Request().Context(), began.Add(timeout))
	defer stop()
	result, err := s.pool.Query(ctx, model.Query{
		Workspace: r.WorkspaceID,
		SQL:       r.SQL,
		Args:      r.Args,
		ReadOnly:  r.ReadOnly,
		MaxRows:   limits.MaxRows,
		MaxBytes:  limits.MaxBytes,
	})
	if err != nil {
		return queryFailed(ctx, c, err, timeout)
	}
	return writeQuery(c, result)
}

// readLarge reads a body that may be large. Of such ones so many are read at once: a client
// that is slow takes no statement's turn, and one that says that its body is short takes
// none at all.
func (s *Server) readLarge(c echo.Context) ([]byte, error) {
	if length := c.Request().ContentLength; length < 0 || length > controlBody {
		giveBack, err := s.bodies.take(s.identity(c).Subject, "large bodies under way")
		if err != nil {
			return nil, err
		}
		defer giveBack()
	}
	return s.readBody(c)
}

// check says what is wrong with the request, and how long it may take.
func (r queryRequest) check(limits QueryLimits) (timeout time.Duration, err error) {
	most := limits.Timeout.Milliseconds()
	switch {
	case strings.TrimSpace(r.SQL) == "":
		return 0, badRequest("sql is required")
	case r.TimeoutMs == nil:
		return limits.Timeout, nil
	case *r.TimeoutMs < 1 || int64(*r.TimeoutMs) > most:
		return 0, badRequest("timeoutMs is %d: it must be from 1 to %d", *r.TimeoutMs, most)
	}
	return time.Duration(*r.TimeoutMs) * time.Millisecond, nil
}

// queryFailed answers what PostgreSQL said about the statement, and leaves the
// rest to the errors' usual answers.
func queryFailed(ctx context.Context, c echo.Context, err error, timeout time.Duration) error {
	var sql *model.SQLError
	if !errors.As(err, &sql) {
		return err
	}
	c.Set(sqlStateKey, sql.Code)
	switch {
	case errors.Is(err, model.ErrConnectionLost):
		return err // and what the server said is why
	case sql.Code == pgerrcode.QueryCanceled && c.Request().Context().Err() != nil:
		return fmt.Errorf("the client went away, and the statement was cancelled: %w", c.Request().Context().Err())
	case sql.Code == pgerrcode.QueryCanceled && ctx.Err() != nil: // by us
		return fmt.Errorf("the statement was cancelled after %v: %w", timeout, ctx.Err())
	}
	return c.JSON(http.StatusUnprocessableEntity, sqlErrorAnswer{
		errorBody: errorBody{Error: sql.Message, Code: sql.Code, RequestID: requestID(c)},
		Detail:    sql.Detail,
		Hint:      sql.Hint,
		Position:  sql.Position,
	})
}

// writeQuery answers with what MaxRows and MaxBytes have bounded.
func writeQuery(c echo.Context, result model.QueryResult) error {
	answer := queryAnswer{
		Columns:      make([]columnAnswer, 0, len(result.Columns)),
		Rows:         result.Rows,
		Command:      result.Command,
		RowsAffected: result.RowsAffected,
		Truncated:    result.Truncated,
		NoticesLost:  result.NoticesLost,
	}
	for i, column := range result.Columns {
		answer.Columns = append(answer.Columns, columnAnswer(column))
		if column.Type == "int8" {
			asText(result.Rows, i)
		}
	}
	for _, notice := range result.Notices {
		answer.Notices = append(answer.Notices, noticeAnswer(notice))
	}
	if answer.Rows == nil {
		answer.Rows = [][]any{} // [], not null
	}
	var body bytes.Buffer // so that an error can still be answered
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false) // no page, and shorter
	if err := encoder.Encode(answer); err != nil {
		return fmt.Errorf("query: the answer is not JSON: %w", err)
	}
	return c.JSONBlob(http.StatusOK, body.Bytes())
}

// asText makes the numbers of a column strings, whatever their value: browsers read JSON
// numbers as doubles, which change digits beyond 2^53 (RFC 7493, section 2.2).
func asText(rows [][]any, column int) {
	for _, row := range rows {
		if number, ok := row[column].(json.Number); ok {
			row[column] = string(number)
		}
	}
}
