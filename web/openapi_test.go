package web

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// description of the API as somebody else reads it.
func readDescription(t *testing.T) (map[string]any, *shellTest) {
	t.Helper()
	s := startShell(t)
	w := s.do("GET", "/api/openapi.json", "")
	if kind := w.Header().Get("Content-Type"); w.Code != 200 || kind != "application/json" {
		t.Fatalf("%d %s", w.Code, kind)
	}
	var all map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &all); err != nil {
		t.Fatal(err)
	}
	return all, s
}

// operations are the described calls, by method and path as Echo has them.
func operations(all map[string]any) map[string]map[string]any {
	found := map[string]map[string]any{}
	for path, item := range all["paths"].(map[string]any) {
		for method, operation := range item.(map[string]any) {
			found[strings.ToUpper(method)+" "+strings.Replace(path, "{file}", "*", 1)] = operation.(map[string]any)
		}
	}
	return found
}

func TestTheDescriptionHasTheRegisteredRoutesAndNoOthers(t *testing.T) {
	all, s := readDescription(t)
	described := operations(all)
	for _, r := range s.e.Routes() {
		name := r.Method + " " + r.Path
		if described[name] == nil {
			t.Errorf("%s is registered and not described", name)
		}
		delete(described, name)
	}
	for name := range described {
		t.Errorf("%s is described and not registered", name)
	}
}

func TestTheDescriptionSaysWhoMayCallWhat(t *testing.T) {
	all, _ := readDescription(t)
	for name, operation := range operations(all) {
		security := operation["security"].([]any)
		said := operation["description"].(string)
		may := permitted[strings.Replace(name, "HEAD ", "GET ", 1)]
		if may == nil {
			if len(security) != 0 || said != "Anybody may call it." {
				t.Errorf("%s: %v, %q", name, security, said)
			}
			continue
		}
		var names []string
		for _, role := range may {
			names = append(names, string(role))
		}
		if want := "Roles: " + strings.Join(names, ", ") + "."; len(security) == 0 || len(security) > 1 && !strings.HasSuffix(name, " /metrics") || said != want {
			t.Errorf("%s: %v, %q", name, security, said)
		}
	}
}

// What OpenAPI 3.1 asks of a description, as far as this one uses it.
func TestTheDescriptionIsOpenAPI(t *testing.T) {
	all, _ := readDescription(t)
	if all["openapi"] != "3.1.0" {
		t.Errorf("version %v", all["openapi"])
	}
	info := all["info"].(map[string]any)
	if info["title"] == "" || info["version"] == "" {
		t.Errorf("info %v", info)
	}
	schemas := all["components"].(map[string]any)["schemas"].(map[string]any)
	ids := map[string]bool{}
	for name, operation := range operations(all) {
		id, _ := operation["operationId"].(string)
		if id == "" || ids[id] {
			t.Errorf("%s: operationId %q is empty or not the only one", name, id)
		}
		ids[id] = true
		if operation["summary"] == "" {
			t.Errorf("%s has no summary", name)
		}
		ok := 0
		for status, response := range operation["responses"].(map[string]any) {
			if response.(map[string]any)["description"] == "" {
				t.Errorf("%s %s has no description", name, status)
			}
			if strings.HasPrefix(status, "2") {
				ok++
			}
		}
		if ok != 1 {
			t.Errorf("%s has %d successes", name, ok)
		}
	}
	walk(all, func(at map[string]any) {
		if to, is := at["$ref"].(string); is {
			if name, local := strings.CutPrefix(to, "#/components/schemas/"); !local || schemas[name] == nil {
				t.Errorf("there is no %s", to)
			}
		}
	})
	for name, schema := range schemas {
		s := schema.(map[string]any)
		properties := s["properties"].(map[string]any)
		required, _ := s["required"].([]any)
		for _, field := range required {
			if properties[field.(string)] == nil {
				t.Errorf("%s requires %v and does not have it", name, field)
			}
		}
	}
}

func walk(at any, visit func(map[string]any)) {
	switch at := at.(type) {
	case map[string]any:
		visit(at)
		for _, inner := range at {
			walk(inner, visit)
		}
	case []any:
		for _, inner := range at {
			walk(inner, visit)
		}
	}
}

// The names are those of the issue.
func TestTheDescriptionHasTheFieldsOfTheAPI(t *testing.T) {
	all, _ := readDescription(t)
	schemas := all["components"].(map[string]any)["schemas"].(map[string]any)
	for name, want := range map[string][]string{
		"connectionStats": {"maxConnections", "maxConnectionsPerDB", "totalOpenConnections", "totalInUseConnections",
			"totalIdleConnections", "activeWorkspaceDatabases", "systemConnections", "workspacePools"},
		"poolStats":    {"openConnections", "inUse", "idle", "maxOpen"},
		"queryRequest": {"workspaceId", "sql", "args", "readOnly"},
		"queryAnswer":  {"columns", "rows"},
		"errorBody":    {"error", "code", "requestId"},
	} {
		schema, _ := schemas[name].(map[string]any)
		if schema == nil {
			t.Errorf("there is no schema %s", name)
			continue
		}
		properties := schema["properties"].(map[string]any)
		for _, field := range want {
			if properties[field] == nil {
				t.Errorf("%s has no field %s", name, field)
			}
		}
		if strict := schema["additionalProperties"] == false; strict != strings.HasSuffix(name, "Request") {
			t.Errorf("%s: no other fields %v", name, strict)
		}
	}
	required, _ := schemas["queryRequest"].(map[string]any)["required"].([]any)
	if !slices.Equal(required, []any{"workspaceId", "sql"}) {
		t.Errorf("a query requires %v", required)
	}
}

// What is said to be in a body is taken there.
func TestHandlersTakeTheFieldsThatAreDescribed(t *testing.T) {
	all, s := readDescription(t)
	schemas := all["components"].(map[string]any)["schemas"].(map[string]any)
	for name, operation := range operations(all) {
		body, _ := operation["requestBody"].(map[string]any)
		if body == nil {
			continue
		}
		role := Operator
		if slices.Contains(permitted[name], Service) {
			role = Service
		}
		ref := body["content"].(map[string]any)["application/json"].(map[string]any)["schema"].(map[string]any)["$ref"].(string)
		schema := schemas[strings.TrimPrefix(ref, "#/components/schemas/")].(map[string]any)
		path := strings.TrimPrefix(name, "POST ")
		for field := range schema["properties"].(map[string]any) {
			// An object is wrong for all of them, so nothing is done.
			w := s.do("POST", path, `{"`+field+`":{}}`, "Authorization", "Bearer "+s.token(t, role), "Content-Type", "application/json")
			if w.Code != 400 || !strings.Contains(w.Body.String(), `the field \"`+field+`\" cannot be a JSON object`) {
				t.Errorf("%s with %s: %d %s", name, field, w.Code, w.Body)
			}
		}
		w := s.do("POST", path, `{"surplus":1}`, "Authorization", "Bearer "+s.token(t, role), "Content-Type", "application/json")
		if w.Code != 400 || !strings.Contains(w.Body.String(), `there is no field \"surplus\" here`) {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}
