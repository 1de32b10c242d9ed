package web

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/labstack/echo/v4"

	"github.com/tenantpool/tenantpool/model"
)

// failure is what to answer to a request that fails. It is an error, too, so that a
// handler can say it itself.
type failure struct {
	status int
	// message is for anybody, detail for who may see other workspaces' names and
	// the server's address (empty: the same).
	message, detail string
	// code is the SQLSTATE.
	code string
	// cause is for the log only.
	cause error
	// alone: the answer has no field besides the error.
	alone bool
	// retryAfter is when to try again; 0: it is not said.
	retryAfter time.Duration
	warn       bool // it is for the log, at level warning
}

func (f *failure) Error() string {
	if f.cause != nil {
		return f.message + ": " + f.cause.Error()
	}
	return f.message
}

func (f *failure) Unwrap() error { return f.cause }

// badRequest is a 400.
func badRequest(format string, args ...any) error {
	return &failure{status: http.StatusBadRequest, message: fmt.Sprintf(format, args...)}
}

// errorBody is the answer to every request that fails.
type errorBody struct {
	Error string `json:"error"`
	// Code is the SQLSTATE of what the server refused, RequestID what to look for
	// in the log.
	Code      string `json:"code,omitempty"`
	RequestID string `json:"requestId,omitempty"`
}

// When a client is to try again.
const (
	retrySoon  = time.Second     // when connections are released or opened
	retryLater = 5 * time.Second // when a person does something, or a server starts
)

// statusClientGone is nginx's word for a request whose client did not wait. Only
// the log sees it.
const statusClientGone = 499

const clientGone = "the request was cancelled"

// replyTo knows the errors of package model, and those of this one. For others
// it is a 500 that says nothing, and known is false.
func replyTo(err error) (_ failure, known bool) {
	var (
		own       *failure
		tooLarge  *http.MaxBytesError
		sql       *model.SQLError
		limit     *model.ConnectionLimitError
		dial      *model.DialError
		workspace *model.WorkspaceIDError
		config    *model.ConfigError
		settings  *model.SettingsError
		framework *echo.HTTPError
	)
	switch {
	case errors.As(err, &own):
		return *own, true
	case errors.As(err, &tooLarge):
		return failure{status: http.StatusRequestEntityTooLarge, message: fmt.Sprintf("the body is larger than %d bytes", tooLarge.Limit)}, true
	case errors.Is(err, model.ErrNotKnown):
		return failure{status: http.StatusServiceUnavailable, retryAfter: retryLater, detail: err.Error(), message: model.ErrNotKnown.Error()}, true
	case errors.Is(err, model.ErrConnectionLost): // it may wrap what the server said last
		return failure{
			status: http.StatusServiceUnavailable, retryAfter: retryLater, detail: err.Error(), warn: true,
			message: "the connection to the database was lost, and the statement may have run: check before you retry",
		}, true
	case errors.As(err, &sql):
		return failure{status: http.StatusUnprocessableEntity, message: sqlMessage(sql), code: sql.Code}, true
	// What follows may wrap the context's end, and says more than that.
	case errors.As(err, &limit):
		return failure{
			status: http.StatusServiceUnavailable, retryAfter: retrySoon, detail: err.Error(),
			message: "no database connection is free at the moment: try again",
		}, true
	case errors.Is(err, model.ErrPaused):
		return failure{
			status: http.StatusServiceUnavailable, retryAfter: retryLater, detail: err.Error(),
			message: "the workspace is paused or in exclusive use: try again later",
		}, true
	case errors.Is(err, model.ErrClosed):
		return failure{
			status: http.StatusServiceUnavailable, detail: err.Error(),
			message: "the server is shutting down",
		}, true
	case errors.As(err, &dial):
		return dialReply(err, dial), true
	case errors.Is(err, model.ErrDialing), errors.Is(err, model.ErrAcquireTimeout):
		return failure{
			status: http.StatusServiceUnavailable, retryAfter: retrySoon, detail: err.Error(),
			message: "no database connection could be opened in time: try again",
		}, true
	case errors.As(err, &workspace):
		return failure{status: http.StatusBadRequest, message: workspace.Error()}, true
	case errors.As(err, &config):
		return failure{status: http.StatusBadRequest, detail: err.Error(), message: "a value is out of range"}, true
	case errors.Is(err, model.ErrWorkspaceExists):
		return failure{status: http.StatusConflict, message: model.ErrWorkspaceExists.Error()}, true
	case errors.As(err, &settings):
		return failure{
			status: http.StatusServiceUnavailable, retryAfter: retryLater, detail: err.Error(),
			message: "the workspace's settings are not valid",
		}, true
	case errors.Is(err, errors.ErrUnsupported):
		return failure{status: http.StatusConflict, detail: err.Error(), message: "the pool is not configured for this"}, true
	case errors.Is(err, model.ErrManyPauses):
		return failure{status: http.StatusConflict, detail: err.Error(), message: model.ErrManyPauses.Error()}, true
	case errors.Is(err, model.ErrNoWorkspace):
		return failure{status: http.StatusNotFound, message: model.ErrNoWorkspace.Error()}, true
	case errors.Is(err, context.DeadlineExceeded):
		return failure{status: http.StatusGatewayTimeout, message: "the request timed out; any change may have been applied: check before you retry"}, true
	case errors.Is(err, context.Canceled):
		return failure{status: statusClientGone, message: clientGone}, true
	case errors.As(err, &framework):
		return failure{status: framework.Code, message: frameworkMessage(framework)}, true
	}
	return failure{status: http.StatusInternalServerError, message: "internal error"}, false
}

func sqlMessage(e *model.SQLError) string {
	s := e.Message
	if e.Detail != "" {
		s += "; " + e.Detail
	}
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	if e.Position > 0 {
		s += fmt.Sprintf(" (at character %d)", e.Position)
	}
	return s
}

func dialReply(err error, dial *model.DialError) failure {
	r := failure{
		status: http.StatusServiceUnavailable, retryAfter: retrySoon, detail: err.Error(),
		message: "the workspace's database cannot be reached at the moment: try again",
	}
	var server interface{ SQLState() string }
	if errors.As(dial.Err, &server) {
		r.code = server.SQLState()
	}
	switch {
	case r.code == pgerrcode.InvalidCatalogName:
		r.status, r.retryAfter = http.StatusNotFound, 0
		r.message = model.ErrNoWorkspace.Error()
	case dial.Kind == model.Permanent:
		r.status, r.retryAfter = http.StatusBadGateway, 0
		r.message = "the workspace's database refuses the login"
	case dial.Kind == model.ServerDown:
		r.retryAfter = retryLater
	}
	return r
}

// frameworkMessage puts Echo's words for the usual refusals into ours.
func frameworkMessage(e *echo.HTTPError) string {
	switch e.Code {
	case http.StatusNotFound:
		return "there is no such route"
	case http.StatusMethodNotAllowed:
		return "the route does not take this method"
	}
	if s, ok := e.Message.(string); ok {
		return s
	}
	return http.StatusText(e.Code)
}

// ended is the failure when it was the request that ended, or not. Who left while they
// waited for something is in no want of it any more, whatever the error says of that.
func (r failure) ended(c echo.Context, err error) failure {
	left := c.Request().Context().Err() != nil
	switch {
	case left && errors.Is(err, context.Canceled), leftInTheMiddle(c, err):
		return failure{status: statusClientGone, message: clientGone}
	case !left && r.status == statusClientGone:
		r.status, r.retryAfter = http.StatusServiceUnavailable, retrySoon // the client is there, and wants an answer
	}
	return r
}

// leftInTheMiddle tells whether the answer had begun when the client went away, or did not
// take it in time: net/http ends the request's context when a write fails.
func leftInTheMiddle(c echo.Context, err error) bool {
	var panicked *crash
	return err != nil && c.Response().Committed && c.Request().Context().Err() != nil && !errors.As(err, &panicked)
}

// writeReply answers, unless the answer has begun: then the stream just ends.
func writeReply(c echo.Context, r failure, message, requestID string) error {
	if c.Response().Committed {
		return nil
	}
	if r.retryAfter > 0 {
		c.Response().Header().Set(echo.HeaderRetryAfter, strconv.Itoa(int(math.Ceil(r.retryAfter.Seconds()))))
	}
	body := errorBody{Error: message, Code: r.code, RequestID: requestID}
	if r.alone {
		body.RequestID = ""
	}
	return c.JSON(r.status, body)
}

// ErrorHandler is an Echo error handler for routes of your own that use a pool:
//
//	e.HTTPErrorHandler = web.ErrorHandler(e.DefaultHTTPErrorHandler)
//
// It answers the errors of package model: a *model.ConnectionLimitError is a 503
// with Retry-After, and so on. The answer holds no name of another workspace and
// no address; log the error itself for that. All other errors go to next.
func ErrorHandler(next echo.HTTPErrorHandler) echo.HTTPErrorHandler {
	return func(err error, c echo.Context) {
		var framework *echo.HTTPError
		r, known := replyTo(err)
		if !known || errors.As(err, &framework) || r.status == statusClientGone || r.status == http.StatusGatewayTimeout {
			next(err, c) // nothing that only a pool says
			return
		}
		_ = writeReply(c, r, r.message, c.Response().Header().Get(echo.HeaderXRequestID))
	}
}
