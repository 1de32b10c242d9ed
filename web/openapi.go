package web

import (
	_ "embed"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/labstack/echo/v4"
)

// openapiFile describes the API. It is written by hand, and tests hold it against the
// routes, the types that handlers read and write, and the answers of a server.
//
//go:embed openapi.json
var openapiFile string

func (s *Server) openAPI(c echo.Context) error {
	return c.JSONBlob(http.StatusOK, s.description)
}

// describe fills in the limits, which each server has its own of.
func describe(limits QueryLimits) ([]byte, error) {
	description := jsontext.Value(strings.NewReplacer(
		`"{timeoutMs}"`, fmt.Sprint(limits.Timeout.Milliseconds()),
		"{queryBody}", fmt.Sprint(limits.MaxBody),
		"{controlBody}", fmt.Sprint(min(controlBody, limits.MaxBody)),
	).Replace(openapiFile))
	err := description.Compact()
	return description, err
}
