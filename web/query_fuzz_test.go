package web

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// What comes to the pool is what the body says, in the fields that there are, for a
// workspace that the token names, and within the server's limits.
func FuzzQueryBodies(f *testing.F) {
	rig := newFuzzRig(f)
	var asked []model.Query
	var within time.Duration
	rig.pool.query = func(ctx context.Context, q model.Query) (model.QueryResult, error) {
		until, _ := ctx.Deadline()
		asked, within = append(asked, q), time.Until(until)
		return model.QueryResult{Columns: []model.Column{{Name: q.SQL, Type: "text"}}, Rows: [][]any{q.Args[:min(len(q.Args), 1)]}}, nil
	}
	good := goodBodies[queryPath]
	f.Add(good)
	wrong := map[string][]string{
		"args":      {`[null]`, `[[],{"a":[1e999]}]`, `["\ud800\u0000"]`, `[-0]`, `{}`, `[` + strings.Repeat("1,", 70_000) + `1]`, strings.Repeat(`[`, 11_000)},
		"timeoutMs": {`0`, `1e2`, `30000`, `30001`, `-1`, `9223372036854775808`, `null`, strings.Repeat("9", 5_000)},
		"sql":       {`""`, `" \n"`, `"a\u0000"`, "\"\xff\"", `"` + strings.Repeat("x", 5_000) + `"`, `null`},
		"readOnly":  {`1`, `null`, `"true"`},
		// The last one counts, and it must be the one that is checked.
		"workspaceId":              {`"ws_002"`, `"WS_001"`, `"ws_003"`, `"ws_001\u0000"`, `"ws_003","workspaceId":"ws_001"`, `"ws_001","WORKSPACEID":"ws_003"`},
		"maxRows":                  {`1`},
		strings.Repeat("x", 5_000): {`1`},
	}
	for _, field := range slices.Sorted(maps.Keys(wrong)) {
		for _, value := range wrong[field] {
			var fields map[string]json.RawMessage
			if err := json.Unmarshal([]byte(good), &fields); err != nil {
				f.Fatal(err)
			}
			delete(fields, field)
			rest, err := json.Marshal(fields)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(strings.TrimSuffix(string(rest), "}") + `,"` + field + `":` + value + "}")
		}
	}
	f.Fuzz(func(t *testing.T, body string) {
		asked = nil
		r, w := rig.send(rig.fill("POST "+queryPath+" HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {service}\r\n"+
			"Content-Type: application/json\r\nContent-Length: "+strconv.Itoa(len(body))+"\r\n\r\n") + body)
		rig.check(t, r, w)
		switch {
		case len(asked) > 1 || len(asked) == 1 != (w.Code == http.StatusOK):
			t.Fatalf("%d statements were run: %d %s", len(asked), w.Code, w.Body)
		case len(asked) == 0 && (w.Code < 400 || w.Code >= 500):
			t.Fatalf("%d %s", w.Code, w.Body)
		case len(asked) == 0:
			return
		}
		q := asked[0]
		if !slices.Contains(served, q.Workspace) || strings.TrimSpace(q.SQL) == "" ||
			len(q.Args) > model.MaxParameters || q.MaxRows != 10_000 || q.MaxBytes != 8<<20 || within > 30*time.Second || len(body) > 1<<20 {
			t.Errorf("%.500q became %.500v, within %v", body, q, within)
		}
		checkDecoded(t, body, q)
		if !json.Valid(w.Body.Bytes()) {
			t.Errorf("the answer is no JSON: %.500s", w.Body)
		}
	})
}

// checkDecoded reads the body another way: one object, field by field.
func checkDecoded(t *testing.T, body string, q model.Query) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(body))
	decoder.UseNumber()
	if start, err := decoder.Token(); err != nil || start != json.Delim('{') {
		t.Fatalf("%.500q is no object", body)
	}
	said := model.Query{MaxRows: q.MaxRows, MaxBytes: q.MaxBytes}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			t.Fatal(err)
		}
		var text json.RawMessage
		if err := decoder.Decode(&text); err != nil {
			t.Fatal(err)
		}
		value := decodedBy(t, text)
		known := false
		for _, field := range []string{"workspaceId", "sql", "args", "readOnly", "timeoutMs"} {
			if name != field {
				continue
			}
			known = true
			switch value := value.(type) {
			case string:
				if field == "sql" {
					said.SQL = value
				} else {
					said.Workspace = model.WorkspaceID(value)
				}
			case []any:
				var each []json.RawMessage
				if err := json.Unmarshal(text, &each); err != nil {
					t.Fatal(err)
				}
				said.Args = nil
				for _, text := range each {
					arg := any(text) // an array or an object is passed on as it is
					if text[0] != '[' && text[0] != '{' {
						arg = decodedBy(t, text)
					}
					said.Args = append(said.Args, arg)
				}
			case bool:
				said.ReadOnly = value
			case nil:
				if field == "args" {
					said.Args = nil
				}
			}
		}
		if !known {
			t.Errorf("there is no field %q, and it was accepted", name)
		}
	}
	if len(said.Args)+len(q.Args) == 0 {
		said.Args, q.Args = nil, nil
	}
	if !reflect.DeepEqual(q, said) {
		t.Errorf("%.500q became %.500v, want %.500v", body, q, said)
	}
}

// decodedBy is encoding/json's reading of the text.
func decodedBy(t *testing.T, text json.RawMessage) (value any) {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		t.Fatal(err)
	}
	return value
}
