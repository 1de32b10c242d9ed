package web

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"
)

type someRequest struct {
	Name  string           `json:"name"`
	Count int              `json:"count"`
	More  []any            `json:"more"`
	Inner *struct{ X int } `json:"inner"`
}

func startReader(t *testing.T) *shellTest {
	return startShell(t, open("POST", "/read", func(s *Server, c echo.Context) error {
		var r someRequest
		if err := s.readJSON(c, &r); err != nil {
			return err
		}
		return c.String(200, fmt.Sprintf("%s %d %T", r.Name, r.Count, append(r.More, nil)[0]))
	}))
}

func TestGoodBodiesAreRead(t *testing.T) {
	s := startReader(t)
	for body, want := range map[string]string{
		`{"name":"a","count":2}`:      "a 2 <nil>",
		"  {\"name\" : \"a\"}\r\n\t ": "a 0 <nil>",
		`{}`:                          " 0 <nil>",
		`{"more":["x"]}`:              " 0 string",
	} {
		for _, kind := range []string{"application/json", "application/json; charset=utf-8", "Application/JSON"} {
			if w := s.do("POST", "/read", body, "Content-Type", kind); w.Code != 200 || w.Body.String() != want {
				t.Errorf("%s: %d %s", body, w.Code, w.Body)
			}
		}
	}
}

func TestBadBodiesAreRefusedInPlainWords(t *testing.T) {
	s := startReader(t)
	for body, want := range map[string]string{
		``:                                       "the body is empty or ends too early",
		` `:                                      "the body is empty or ends too early",
		`{"name":"a"`:                            "the body is empty or ends too early",
		`{name:"a"}`:                             "the body is not JSON: at byte 3",
		`{"name":"a"}}`:                          "the body is not JSON",
		`{"name":"a"} {"name":"b"}`:              "after top-level value",
		`{"name":"a"} x`:                         "the body is not JSON",
		`[]`:                                     "must be a JSON object, not a JSON array",
		`"a"`:                                    "must be a JSON object, not a JSON string",
		`{"name":1}`:                             `the field "name" cannot be a JSON number`,
		`{"count":"1"}`:                          `the field "count" cannot be a JSON string`,
		`{"count":1.5}`:                          `the field "count" cannot be a JSON number 1.5`,
		`{"count":1e99}`:                         `the field "count" cannot be a JSON number 1e99`,
		`{"inner":{"X":true}}`:                   `the field "inner.X" cannot be a JSON bool`,
		`{"nom":"a"}`:                            `there is no field "nom" here`,
		`{"Name":"a"}`:                           `there is no field "Name" here`,
		`{"name":"a","name":"b"}`:                `the name "name" comes twice`,
		`{"name":"a","n\u0061me":"b"}`:           `the name "name" comes twice`,
		`{"more":[{"a":1,"a":2}]}`:               `the name "more.0.a" comes twice`,
		`{"name":"\ud800"}`:                      "the body is not JSON: at byte 10",
		`{"name":"\udc00\ud800"}`:                "the body is not JSON: at byte 10",
		"{\"name\":\"\xff\"}":                    "the body is not JSON: at byte 10",
		"{\"name\":\"\xed\xa0\x80\"}":            "the body is not JSON: at byte 10",
		"{\"n\xffme\":\"a\"}":                    "the body is not JSON",
		"\xff\xfe":                               "the body is not JSON",
		strings.Repeat("[", 15_000):              "the body",
		`{"name":"` + strings.Repeat("a", 1<<20): "the body is larger than 16384 bytes",
		`{"name":"a"}` + strings.Repeat(" ", 1<<20): "the body is larger than 16384 bytes",
	} {
		w := s.do("POST", "/read", body, "Content-Type", "application/json")
		status := 400
		if strings.Contains(want, "larger") {
			status = 413
		}
		var answer errorBody
		_ = json.Unmarshal(w.Body.Bytes(), &answer)
		if len(body) > 30 {
			body = body[:30] + "..."
		}
		if w.Code != status || !strings.Contains(answer.Error, want) || answer.RequestID == "" {
			t.Errorf("%s: %d %s, want %s", body, w.Code, w.Body, want)
		}
		for _, ours := range []string{"json:", "Go ", "someRequest", "int"} {
			if strings.Contains(answer.Error, ours) {
				t.Errorf("%s: the answer is about Go: %s", body, answer.Error)
			}
		}
	}
	if logged := s.log.with(t, "Request failed"); len(logged) > 0 {
		t.Errorf("logged as ours: %v", logged)
	}
}

func TestABodyThatIsNotSaidToBeJSONIsRefused(t *testing.T) {
	s := startReader(t)
	for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp", "json", "application/json; charset=latin1"} {
		if w := s.do("POST", "/read", `{"name":"a"}`, "Content-Type", kind); w.Code != 415 || !strings.Contains(w.Body.String(), "set Content-Type to application/json") {
			t.Errorf("%q: %d %s", kind, w.Code, w.Body)
		}
	}
}

func TestABodyThatIsSaidToBeOfTwoKindsIsRefused(t *testing.T) {
	s := startReader(t)
	for _, second := range []string{"text/plain", "application/json", ""} {
		for _, kinds := range [][]string{{"Content-Type", "application/json", "Content-Type", second}, {"Content-Type", second, "Content-Type", "application/json"}} {
			if w := s.do("POST", "/read", `{"name":"a"}`, kinds...); w.Code != 415 || !strings.Contains(w.Body.String(), "set Content-Type to application/json") {
				t.Errorf("%q: %d %s", kinds, w.Code, w.Body)
			}
		}
	}
}

func TestABodyThatIsSaidToBeEncodedIsRefused(t *testing.T) {
	s := startReader(t)
	for _, encoding := range []string{"gzip", "br", "GZIP", "identity, gzip", "aes128gcm"} {
		w := s.do("POST", "/read", `{"name":"a"}`, "Content-Type", "application/json", "Content-Encoding", encoding)
		if w.Code != 415 || !strings.Contains(w.Body.String(), "without Content-Encoding") || w.Header().Get("Accept-Encoding") != "identity" {
			t.Errorf("%q: %d %v %s", encoding, w.Code, w.Header(), w.Body)
		}
	}
	for _, encoding := range []string{"", "identity", "Identity"} {
		if w := s.do("POST", "/read", `{"name":"a"}`, "Content-Type", "application/json", "Content-Encoding", encoding); w.Code != 200 {
			t.Errorf("%q: %d %s", encoding, w.Code, w.Body)
		}
	}
}
