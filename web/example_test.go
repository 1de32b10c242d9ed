package web_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/web"
)

// The admin API beside the routes of a program of one's own.
func ExampleNew() {
	var manager web.Pool = examplePool{} // in a program: a *pools.Manager

	key := web.NewPrivateKey() // in a program: web.ParsePublicKeys of the environment
	admin, err := web.New(manager, web.Options{Keys: []web.PublicKey{key.Public()}})
	if err != nil {
		log.Fatal(err)
	}
	defer admin.Close()

	e := echo.New()
	if err := admin.Mount(e, "/admin"); err != nil {
		log.Fatal(err)
	}

	token, err := web.Issue(key, web.Claims{Subject: "anna", Role: web.Viewer, TTL: 8 * time.Hour})
	if err != nil {
		log.Fatal(err)
	}
	request := httptest.NewRequest(http.MethodGet, "/admin/api/admin.connectionStats", nil)
	fmt.Println(answer(e, request))
	request.Header.Set("Authorization", "Bearer "+token)
	fmt.Println(answer(e, request))
	// Output:
	// 401
	// 200
}

// A pool that is full becomes a 503 with Retry-After also on routes of one's own.
func ExampleErrorHandler() {
	e := echo.New()
	e.HTTPErrorHandler = web.ErrorHandler(e.DefaultHTTPErrorHandler)
	e.GET("/orders", func(c echo.Context) error {
		return fmt.Errorf("orders: %w", &model.ConnectionLimitError{WorkspaceID: "customer-42"}) // of Acquire
	})

	recorder := httptest.NewRecorder()
	e.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/orders", nil))
	fmt.Println(recorder.Code, recorder.Header().Get("Retry-After"))
	// Output: 503 1
}

// A token for a program that runs statements in one workspace, and what it says.
func ExampleIssue() {
	token, err := web.Issue(web.NewPrivateKey(), web.Claims{
		Subject: "reports", Role: web.Service, Workspaces: []model.WorkspaceID{"customer-42"}, TTL: time.Hour,
	})
	if err != nil {
		log.Fatal(err)
	}
	says, err := web.InspectToken(token)
	fmt.Println(says.Subject, says.Role, says.Workspaces, err)
	// Output: reports service [customer-42] <nil>
}

// examplePool is a pool that says nothing but its limits.
type examplePool struct{ web.Pool }

func (examplePool) Stats(context.Context) (model.Stats, error) {
	return model.Stats{MaxConnections: 100, MaxConnectionsPerDB: 3}, nil
}

func answer(h http.Handler, request *http.Request) (status int) {
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, request)
	return recorder.Code
}
