package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"github.com/labstack/echo/v4"
)

// The page is plain HTML, CSS and JavaScript modules: what is in the folder is
// what the browser gets.
//
//go:embed dashboard
var dashboardFolder embed.FS

// contentSecurityPolicy allows the page its own parts and its own API, and
// nothing else: no inline script or style, no other host, no frame around it.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
	"img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// dashboardFiles are the page and its parts, by name. Only what is in here is
// served: a name is looked up, never opened.
var dashboardFiles = mustLoadDashboard(dashboardFolder)

type dashboardFile struct {
	contentType string
	etag        string
	content     []byte
}

// mustLoadDashboard reads the folder. It cannot fail: the compiler has seen the
// files, and a type that is unknown is caught by every test.
func mustLoadDashboard(folder fs.FS) map[string]dashboardFile {
	files := map[string]dashboardFile{}
	err := fs.WalkDir(folder, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(folder, name)
		if err != nil {
			return err
		}
		contentType, known := dashboardTypes[path.Ext(name)]
		if !known {
			return fmt.Errorf("no content type for %s", name)
		}
		sum := sha256.Sum256(content)
		files[strings.TrimPrefix(name, "dashboard/")] = dashboardFile{
			contentType: contentType,
			etag:        `"` + hex.EncodeToString(sum[:12]) + `"`,
			content:     content,
		}
		return nil
	})
	if err != nil {
		panic("web: the embedded dashboard: " + err.Error())
	}
	return files
}

// dashboardTypes does not ask package mime: its answers depend on the machine.
var dashboardTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// dashboard serves the page. Its links are relative, so that it works under any
// prefix; they need the slash at the end of the page's own address.
func (s *Server) dashboard(c echo.Context) error {
	if at := c.Request().URL.Path; !strings.HasSuffix(at, "/") {
		return c.Redirect(http.StatusPermanentRedirect, "./"+path.Base(at)+"/")
	}
	return serveDashboardFile(c, "index.html")
}

func (s *Server) asset(c echo.Context) error {
	name := c.Param("*")
	if name == "index.html" {
		return echo.ErrNotFound
	}
	return serveDashboardFile(c, name)
}

// serveDashboardFile adds to the headers that every answer has.
func serveDashboardFile(c echo.Context, name string) error {
	file, known := dashboardFiles[name]
	if !known {
		return echo.ErrNotFound
	}
	header := c.Response().Header()
	header.Set("Content-Security-Policy", contentSecurityPolicy)
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	// Kept, but asked for each time: a new version of the program shows at once.
	header.Set("Cache-Control", "no-cache")
	header.Set("ETag", file.etag)
	if etagMatches(c.Request().Header.Get("If-None-Match"), file.etag) {
		return c.NoContent(http.StatusNotModified)
	}
	return c.Blob(http.StatusOK, file.contentType, file.content)
}

// etagMatches compares weakly, as If-None-Match asks for: a proxy that
// compresses marks the tags it passes on as weak.
func etagMatches(wanted, have string) bool {
	for candidate := range strings.SplitSeq(wanted, ",") {
		candidate = strings.TrimSpace(candidate)
		if candidate == "*" || strings.TrimPrefix(candidate, "W/") == have {
			return true
		}
	}
	return false
}
