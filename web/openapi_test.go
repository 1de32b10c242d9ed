package web

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
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

// responses are the operation's, by status, those that it refers to in full.
func responses(all, operation map[string]any) map[string]map[string]any {
	found := map[string]map[string]any{}
	for status, response := range operation["responses"].(map[string]any) {
		found[status] = response.(map[string]any)
		if to, is := found[status]["$ref"].(string); is {
			shared := all["components"].(map[string]any)["responses"].(map[string]any)
			found[status], _ = shared[strings.TrimPrefix(to, "#/components/responses/")].(map[string]any)
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
		for status, response := range responses(all, operation) {
			if response["description"] == nil || response["description"] == "" {
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
	referred := map[string]bool{}
	walk(all, func(at map[string]any) {
		if to, is := at["$ref"].(string); is {
			parts := strings.Split(to, "/")
			if kind, known := all["components"].(map[string]any)[parts[len(parts)-2]].(map[string]any); !known || kind[parts[len(parts)-1]] == nil {
				t.Errorf("there is no %s", to)
			}
			referred[to] = true
		}
	})
	for name := range all["components"].(map[string]any)["responses"].(map[string]any) {
		if !referred["#/components/responses/"+name] {
			t.Errorf("no route answers with %s", name)
		}
	}
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

// bodies are what the routes read and write as JSON.
var bodies = map[string]struct{ takes, gives any }{
	"GET /healthz":                    {nil, healthAnswer{}},
	"GET /readyz":                     {nil, healthAnswer{}},
	"GET /api/admin.connectionStats":  {nil, connectionStats{}},
	"GET /api/admin.usage":            {nil, usageAnswer{}},
	"GET /api/admin.replicas":         {nil, SharedBudget{}},
	"GET /api/admin.door":             {nil, doorStats{}},
	"GET /api/admin.capacity":         {nil, Capacity{}},
	"POST /api/admin.evictWorkspace":  {workspaceRequest{}, closedAnswer{}},
	"POST /api/admin.renewWorkspace":  {workspaceRequest{}, closedAnswer{}},
	"POST /api/admin.renewAll":        {emptyRequest{}, closedAnswer{}},
	"POST /api/admin.pauseWorkspace":  {pauseRequest{}, pauseAnswer{}},
	"POST /api/admin.resumeWorkspace": {workspaceRequest{}, resumeAnswer{}},
	"POST /api/admin.setLimits":       {limitsRequest{}, limitsAnswer{}},
	"POST /api/admin.drain":           {drainRequest{}, drainAnswer{}},
	"POST /api/admin.dump":            {emptyRequest{}, nil},
	"POST /api/workspace.query":       {queryRequest{}, queryAnswer{}},
	"POST /api/workspace.create":      {createRequest{}, workspaceAnswer{}},
	"POST /api/workspace.delete":      {deleteRequest{}, workspaceAnswer{}},
	"POST /api/workspace.rename":      {renameRequest{}, workspaceAnswer{}},
	"POST /api/workspace.settings":    {settingsRequest{}, settingsAnswer{}},
	"GET /api/workspace.list":         {nil, workspaceList{}},
}

func TestTheDescriptionHasTheFieldsOfTheGoTypes(t *testing.T) {
	all, _ := readDescription(t)
	schemas := all["components"].(map[string]any)["schemas"].(map[string]any)
	types := &goTypes{schemas: schemas, told: map[string]bool{}}
	types.of(reflect.TypeFor[errorBody](), false)
	types.of(reflect.TypeFor[sqlErrorAnswer](), false)
	for name, operation := range operations(all) {
		if takes := bodies[name].takes; takes != nil {
			body := operation["requestBody"].(map[string]any)
			if got, want := jsonSchema(body), types.of(reflect.TypeOf(takes), true); got != want {
				t.Errorf("%s takes %s: want %s", name, got, want)
			}
			if needed := takes != (emptyRequest{}); body["required"] != needed {
				t.Errorf("%s: required is %v, want %v", name, body["required"], needed)
			}
		} else if operation["requestBody"] != nil {
			t.Errorf("%s takes no body", name)
		}
		for status, response := range responses(all, operation) {
			want := ""
			switch {
			case strings.HasPrefix(name, "HEAD "), status == "304":
			case status < "300" && bodies[name].gives == nil:
				want = map[string]string{"GET /api/openapi.json": "object"}[name]
			case status < "300", name == "GET /readyz":
				want = types.of(reflect.TypeOf(bodies[name].gives), false)
			case name == "POST "+queryPath && status == "422":
				want = "sqlErrorAnswer"
			default:
				want = "errorBody"
			}
			if got := jsonSchema(response); got != want {
				t.Errorf("%s %s gives %q: want %q", name, status, got, want)
			}
		}
	}
	for name := range schemas {
		if !types.told[name] {
			t.Errorf("nothing is a %s", name)
		}
	}
	for _, wrong := range types.wrong {
		t.Error(wrong)
	}
}

// jsonSchema is the name of the body's schema, "object" if it has none of its own, ""
// if there is no JSON.
func jsonSchema(body map[string]any) string {
	content, _ := body["content"].(map[string]any)
	kind, _ := content["application/json"].(map[string]any)
	if kind == nil {
		return ""
	}
	return inShort(kind["schema"])
}

// inShort is a schema without its bounds.
func inShort(schema any) string {
	s := schema.(map[string]any)
	if to, is := s["$ref"].(string); is {
		return strings.TrimPrefix(to, "#/components/schemas/")
	}
	if either, is := s["anyOf"].([]any); is {
		return inShort(either[0]) + " or " + inShort(either[1])
	}
	switch kind := s["type"].(type) {
	case []any:
		return "anything"
	case string:
		if kind == "array" {
			return "array of " + inShort(s["items"])
		}
		if values, is := s["additionalProperties"].(map[string]any); is {
			return "map of " + inShort(values)
		}
		for _, more := range []string{"format", "pattern"} {
			if said, is := s[more].(string); is {
				kind += " " + said
			}
		}
		return kind
	}
	return fmt.Sprint(s)
}

// goTypes compares the schemas with the types whose names they have.
type goTypes struct {
	schemas map[string]any
	told    map[string]bool
	wrong   []string
}

// of is the type as inShort says it; strict: other fields are refused.
func (g *goTypes) of(t reflect.Type, strict bool) string {
	switch t {
	case reflect.TypeFor[time.Time]():
		return "string date-time"
	case reflect.TypeFor[model.WorkspaceID]():
		return "string ^[A-Za-z0-9_-]+$"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return g.of(t.Elem(), strict)
	case reflect.Interface:
		return "anything"
	case reflect.Bool:
		return "boolean"
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return "integer"
	case reflect.Float64:
		return "number"
	case reflect.String:
		return "string"
	case reflect.Slice:
		return "array of " + g.of(t.Elem(), strict)
	case reflect.Map:
		return "map of " + g.of(t.Elem(), strict)
	case reflect.Struct:
		if !g.told[t.Name()] {
			g.told[t.Name()] = true
			g.compare(t, strict)
		}
		return t.Name()
	}
	return "unknown " + t.String()
}

func (g *goTypes) compare(t reflect.Type, strict bool) {
	fail := func(format string, args ...any) {
		g.wrong = append(g.wrong, t.Name()+": "+fmt.Sprintf(format, args...))
	}
	schema, _ := g.schemas[t.Name()].(map[string]any)
	if schema == nil {
		fail("there is no such schema")
		return
	}
	if refused := schema["additionalProperties"] == false; refused != strict || schema["type"] != "object" {
		fail("it is a %v that refuses other fields: %v, want %v", schema["type"], refused, strict)
	}
	properties := maps.Clone(schema["properties"].(map[string]any))
	required, _ := schema["required"].([]any)
	for _, field := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if field.Anonymous {
			continue
		}
		property, _ := properties[name].(map[string]any)
		if property == nil {
			fail("there is no field %s", name)
			continue
		}
		delete(properties, name)
		omitted := strings.Contains(options, "omit")
		want := g.of(field.Type, strict)
		if field.Type.Kind() == reflect.Pointer && !omitted {
			want += " or null"
		}
		if got := inShort(property); got != want {
			fail("%s is %s: want %s", name, got, want)
		}
		if field.Type.Kind() == reflect.Uint64 && property["minimum"] != 0.0 {
			fail("%s has no minimum of 0", name)
		}
		if slices.Contains(required, any(name)) == omitted {
			fail("%s: it may be left out: %v", name, omitted)
		}
	}
	for name := range properties {
		fail("no field is %s", name)
	}
}

// Bounds are those that the handlers know.
func TestTheDescriptionHasTheBoundsOfTheHandlers(t *testing.T) {
	options := Options{Keys: []PublicKey{NewPrivateKey().Public()}, Query: QueryLimits{Timeout: 7 * time.Second, MaxBody: 1000}}
	s, err := New(newFakePool(), options)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var all map[string]any
	if err := json.Unmarshal(s.description, &all); err != nil {
		t.Fatal(err)
	}
	schemas := all["components"].(map[string]any)["schemas"].(map[string]any)
	field := func(schema, name string) map[string]any {
		return schemas[schema].(map[string]any)["properties"].(map[string]any)[name].(map[string]any)
	}
	parametersOf := func(operation string) map[string]map[string]any {
		parameters := map[string]map[string]any{}
		for _, p := range operations(all)[operation]["parameters"].([]any) {
			parameters[p.(map[string]any)["name"].(string)] = p.(map[string]any)["schema"].(map[string]any)
		}
		return parameters
	}
	parameters, listing := parametersOf("GET "+statsPath), parametersOf("GET /api/workspace.list")
	var orders []any
	for _, order := range slices.Sorted(maps.Keys(statsOrders)) {
		orders = append(orders, order, "-"+order)
	}
	for _, bound := range []struct {
		says any
		want any
	}{
		{field("queryRequest", "timeoutMs")["maximum"], 7000.0},
		{field("queryRequest", "args")["maxItems"], float64(model.MaxParameters)},
		{field("pauseRequest", "waitMs")["maximum"], float64(pauseWaitMax.Milliseconds())},
		{parameters["search"]["maxLength"], float64(maxStatsSearch)},
		{parameters["limit"]["maximum"], float64(maxStatsWorkspaces)},
		{parameters["limit"]["default"], float64(maxStatsWorkspaces)},
		{parameters["sort"]["enum"], orders},
		{len(parameters), 4},
		{parametersOf("GET /api/admin.usage")["limit"]["maximum"], float64(usageAtMost)},
		{parametersOf("GET /api/admin.usage")["limit"]["default"], float64(usageUsually)},
		{listing["limit"]["maximum"], float64(model.ListAtMost)},
		{listing["limit"]["default"], float64(model.ListUsually)},
	} {
		if !reflect.DeepEqual(bound.says, bound.want) {
			t.Errorf("%v, want %v", bound.says, bound.want)
		}
	}
	for name, operation := range operations(all) {
		if body, _ := operation["requestBody"].(map[string]any); body != nil && body["description"] != "At most 1000 bytes." {
			t.Errorf("%s: %v", name, body["description"])
		}
	}
}
