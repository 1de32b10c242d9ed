package web

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/tenantpool/tenantpool/model"
)

// shell is around every route, alone or mounted: it names the request, bounds
// what the client may send and how slowly, answers errors and panics, and logs.
func (s *Server) shell(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		began := time.Now()
		nameRequest(c)
		secure(c.Response().Header())
		if s.leaving.Load() {
			c.Response().Header().Set(echo.HeaderConnection, "close") // the next request is for another server
		}
		r := c.Request()
		if r.Body != nil && r.Body != http.NoBody {
			deadlines{c}.body(began.Add(bodyTimeout))
			body := &requestBody{ReadCloser: http.MaxBytesReader(c.Response().Writer, r.Body, s.options.Query.MaxBody)}
			r.Body = body
			c.Response().Before(func() { body.giveUp(c) })
		}
		c.Response().Before(func() { s.allowWrite(c) })
		defer func() {
			if reason := recover(); reason != nil {
				if reason == http.ErrAbortHandler { //nolint:errorlint // a panic's value, as net/http compares it
					panic(reason)
				}
				err = &crash{reason, debug.Stack()}
			}
			s.finish(c, began, err)
			err = nil // it is answered: the user's error handler has no part in it
		}()
		return next(c)
	}
}

// crash is a handler's panic.
type crash struct {
	reason any
	stack  []byte
}

func (e *crash) Error() string { return fmt.Sprintf("panic: %v", e.reason) }

// finish answers an error and writes the access log's line.
func (s *Server) finish(c echo.Context, began time.Time, err error) {
	status := c.Response().Status
	if err != nil {
		r, known := replyTo(err)
		if !known && !leftInTheMiddle(c, err) {
			s.logUnknown(c, err)
		}
		r = r.ended(c, err)
		if r.code != "" {
			c.Set(sqlStateKey, r.code)
		}
		if r.warn {
			s.log.WarnContext(c.Request().Context(), "Request lost its database connection", "request_id", requestID(c), "path", loggedPath(c), "error", loggedError(err))
		}
		message := r.message
		if who := s.identity(c); r.detail != "" && (who.Role == Viewer || who.Role == Operator) {
			message = r.detail
		}
		if !c.Response().Committed || leftInTheMiddle(c, err) {
			status = r.status
		}
		if err := writeReply(c, r, message, requestID(c)); err != nil {
			s.log.DebugContext(c.Request().Context(), "The answer did not go out", "request_id", requestID(c), "error", err.Error())
		}
	}
	s.logAccess(c, began, status, err)
}

func (s *Server) logUnknown(c echo.Context, err error) {
	log := s.log.With("request_id", requestID(c), "path", loggedPath(c), "error", err.Error())
	var panicked *crash
	if errors.As(err, &panicked) {
		log = log.With("stack", string(panicked.stack))
	}
	log.ErrorContext(c.Request().Context(), "Request failed")
}

// logAccess leaves out what may hold a secret: query strings, headers, bodies.
func (s *Server) logAccess(c echo.Context, began time.Time, status int, err error) {
	level := slog.LevelInfo
	if path, _ := c.Get(routeKey).(string); quiet[path] && status < http.StatusBadRequest {
		level = slog.LevelDebug
	}
	ctx := c.Request().Context()
	if !s.log.Enabled(ctx, level) {
		return
	}
	attrs := append(s.identityAttrs(c),
		slog.String("method", shortened(c.Request().Method)),
		slog.String("path", loggedPath(c)),
		slog.Int("status", status),
		slog.Int64("bytes", c.Response().Size),
		slog.Float64("ms", float64(time.Since(began).Microseconds())/1000),
		slog.String("remote", c.RealIP()),
		slog.String("request_id", requestID(c)),
	)
	for _, from := range []struct{ name, key string }{{"workspace_id", workspaceKey}, {"sqlstate", sqlStateKey}} {
		if value, _ := c.Get(from.key).(string); value != "" {
			attrs = append(attrs, slog.String(from.name, value))
		}
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", loggedError(err)))
	}
	s.log.LogAttrs(ctx, level, "Request", attrs...)
}

// identityAttrs are whose token it is, and which: its id is what revokes it. It may be one
// that opens nothing more.
func (s *Server) identityAttrs(c echo.Context) (attrs []slog.Attr) {
	who, refused := c.Get(refusedKey).(identity)
	if !refused {
		who = s.identity(c)
	}
	if who.Subject != "" {
		attrs = append(attrs, slog.String("subject", who.Subject))
	}
	if who.TokenID != "" {
		attrs = append(attrs, slog.String("token_id", who.TokenID))
	}
	return attrs
}

// loggedError is the error's text, but of an SQL error only its code: the text
// may quote what the statement was about.
func loggedError(err error) string {
	var sql *model.SQLError
	if errors.As(err, &sql) {
		return "SQLSTATE " + sql.Code
	}
	return err.Error()
}

// quiet are what machines ask all the time.
var quiet = map[string]bool{"/healthz": true, "/readyz": true, metricsPath: true, statsPath: true, "/assets/*": true}

const (
	metricsPath = "/metrics"
	statsPath   = "/api/admin.connectionStats"
	eventsPath  = "/api/admin.events"
	queryPath   = "/api/workspace.query"
)

// tokenLike is what somebody may have put into a path by mistake.
var tokenLike = regexp.MustCompile(`v[0-9]\.(public|local)\.[A-Za-z0-9_.=-]*`)

func loggedPath(c echo.Context) string {
	path := tokenLike.ReplaceAllString(c.Request().URL.Path, "[token]")
	const most = 200
	if len(path) > most {
		path = path[:most] + "..."
	}
	return path
}

// nameRequest takes the name that a proxy or the user's own Echo has given, if
// it may stand in a log.
func nameRequest(c echo.Context) {
	header := c.Response().Header()
	id := header.Get(echo.HeaderXRequestID)
	if id == "" {
		id = c.Request().Header.Get(echo.HeaderXRequestID)
	}
	if !goodRequestID(id) {
		id = rand.Text()
	}
	c.Set(requestIDKey, id)
	header.Set(echo.HeaderXRequestID, id)
}

func goodRequestID(id string) bool {
	return id != "" && len(id) <= 64 && strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") == ""
}

func requestID(c echo.Context) string {
	id, _ := c.Get(requestIDKey).(string)
	return id
}

// secure sets what suits answers that are data; the dashboard sets its own
// Content-Security-Policy and Cache-Control.
func secure(header http.Header) {
	header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Frame-Options", "DENY")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Cache-Control", "no-store")
}
