package web

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
)

const (
	dumpPath = "/api/admin.dump"
	// dumpTimeout bounds making a dump, dumpTransfer sending it.
	dumpTimeout  = 30 * time.Second
	dumpTransfer = 2 * time.Minute
)

// dump answers with the pool's dump, once all of it is there: a client never takes
// half of one for a whole. There is one at a time, until it has been sent.
func (s *Server) dump(c echo.Context) error {
	if err := s.readNothing(c); err != nil {
		return err
	}
	select {
	case s.dumping <- struct{}{}:
		defer func() { <-s.dumping }()
	default:
		return &failure{status: http.StatusConflict, message: "another dump is being made or sent: try again when it is done"}
	}
	ctx, stop := context.WithTimeout(c.Request().Context(), dumpTimeout)
	defer stop()
	var b bytes.Buffer // Dump bounds it
	err := s.pool.Dump(ctx, &b)
	s.audit(c, "dump", "", fmt.Sprintf("%d bytes", b.Len()), err)
	if err != nil {
		return err
	}
	header := c.Response().Header()
	header.Set(echo.HeaderContentDisposition, `attachment; filename="`+time.Now().UTC().Format("tenantpool-20060102T150405Z.zip")+`"`)
	header.Set(echo.HeaderContentLength, strconv.Itoa(b.Len())) // a client that gets less knows it
	c.Response().Before(func() { deadlines{c}.answer(time.Now().Add(dumpTransfer)) })
	return c.Blob(http.StatusOK, "application/zip", b.Bytes())
}
