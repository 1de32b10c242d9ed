package web

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"path"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/tenantpool/tenantpool/model"
)

// object is a JSON object of the description.
type object = map[string]any

func (s *Server) openAPI(c echo.Context) error {
	return c.JSONBlob(http.StatusOK, s.description)
}

// describeRoutes makes the OpenAPI description of the routes. It is made of what the
// handlers themselves read and write, so that the two cannot differ.
//
// A library would do what schema and structure do, seventy lines, and none of the rest.
// The one that the tests have (kin-openapi's openapi3gen) describes version 3.0, and
// would bring five modules to whoever imports this package.
func describeRoutes(routes []route, limits QueryLimits) ([]byte, error) {
	d := description{schemas: object{}, limits: limits}
	d.schema(reflect.TypeFor[errorBody](), false)
	paths := object{}
	for _, r := range routes {
		address := describedPath(r.path)
		item, _ := paths[address].(object)
		if item == nil {
			item = object{}
			paths[address] = item
		}
		item[strings.ToLower(r.method)] = d.operation(r)
	}
	return json.Marshal(object{
		"openapi": "3.1.0",
		"info": object{
			"title":       "tenantpool",
			"version":     "1",
			"description": "Shows and steers the connections of a tenantpool, and runs statements in its workspaces.",
		},
		// Relative to where this description is.
		"servers": []object{{"url": ".."}},
		"paths":   paths,
		"components": object{
			"schemas": d.schemas,
			"securitySchemes": object{
				"token": object{
					"type": "http", "scheme": "bearer", "bearerFormat": "PASETO v4.public",
					"description": "A token of tenantpool token.",
				},
				"metricsToken": object{
					"type": "http", "scheme": "bearer",
					"description": "What METRICS_TOKEN is set to. It opens the metrics and nothing else.",
				},
			},
		},
	})
}

// otherContent is what routes answer that do not answer with JSON.
var otherContent = map[string]string{
	"/":         "text/html",
	"/assets/*": "*/*",
	metricsPath: "text/plain",
	eventsPath:  "text/event-stream",
	dumpPath:    "application/zip",
}

// describedPath is the path in OpenAPI's notation.
func describedPath(path string) string { return strings.Replace(path, "*", "{file}", 1) }

// operationID is the call's name: admin.drain, healthz, and so on.
func operationID(r route) string {
	name := strings.TrimSuffix(path.Base(r.path), ".json")
	switch {
	case r.path == "/":
		name = "dashboard"
	case strings.HasSuffix(r.path, "*"):
		name = "asset"
	}
	if r.method == http.MethodHead {
		name += ".head"
	}
	return name
}

// description collects the schemas on the way.
type description struct {
	schemas object
	limits  QueryLimits
}

func (d description) operation(r route) object {
	responses := object{}
	for _, status := range r.statuses() {
		responses[fmt.Sprint(status)] = d.response(r, status)
	}
	operation := object{
		"operationId": operationID(r),
		"summary":     r.does,
		"responses":   responses,
	}
	if strings.HasSuffix(r.path, "*") {
		operation["parameters"] = []object{{
			"name": "file", "in": "path", "required": true, "schema": object{"type": "string"},
		}}
	}
	if r.path == statsPath {
		operation["parameters"] = statsParameters()
	}
	if slices.Contains(r.roles, public) {
		operation["description"] = "Anybody may call it."
		operation["security"] = []object{}
	} else {
		operation["description"] = "Roles: " + joined(r.roles) + "."
		security := []object{{"token": []string{}}}
		if r.path == metricsPath {
			security = append(security, object{"metricsToken": []string{}})
		}
		operation["security"] = security
	}
	if r.takes != nil {
		operation["requestBody"] = object{
			"description": fmt.Sprintf("At most %d bytes.", r.maxBody(d.limits)),
			"required":    reflect.TypeOf(r.takes).NumField() > 0,
			"content":     object{"application/json": object{"schema": d.schema(reflect.TypeOf(r.takes), true)}},
		}
	}
	return operation
}

// success is the status when all went well.
func (r route) success() int {
	if r.path == "/api/workspace.create" {
		return http.StatusCreated
	}
	return http.StatusOK
}

// statuses are all that the route answers with.
func (r route) statuses() []int {
	all := append([]int{r.success()}, r.fails...)
	if !slices.Contains(r.roles, public) {
		all = append(all, http.StatusUnauthorized, http.StatusForbidden, http.StatusInternalServerError)
	}
	if r.takes != nil {
		all = append(all, http.StatusBadRequest, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	return all
}

// meanings are why a status is answered.
var meanings = map[int]string{
	http.StatusNotModified:           "It is what the client has (If-None-Match).",
	http.StatusBadRequest:            "What was sent is not what it must be.",
	http.StatusUnauthorized:          "There is no token, or it is not valid, has expired or was revoked.",
	http.StatusForbidden:             "The token's role may not do this, or the token does not name the workspace.",
	http.StatusNotFound:              "There is no such workspace, or no such file.",
	http.StatusRequestTimeout:        "The body did not come in time.",
	http.StatusConflict:              "There is such a workspace already, another dump is being made, or 10,000 workspaces are paused.",
	http.StatusRequestEntityTooLarge: "The body is too large.",
	http.StatusUnsupportedMediaType:  "The body is not said to be JSON in UTF-8, or is said to be encoded (Content-Encoding).",
	http.StatusUnprocessableEntity:   "PostgreSQL refused it: code is the SQLSTATE.",
	http.StatusTooManyRequests:       "Too much at once for this token's subject.",
	http.StatusInternalServerError:   "It failed, and the log says why under the requestId.",
	http.StatusBadGateway:            "The database refuses the login.",
	http.StatusServiceUnavailable:    "Not now: no connection, a pause, a server that is away; without Retry-After not again either, as after a drain.",
	http.StatusGatewayTimeout:        "It took longer than it may.",
}

// headers that come with a status, and whether they always do.
var headers = map[int]struct {
	name, says string
	schema     object
	always     bool
}{
	http.StatusUnauthorized:       {"WWW-Authenticate", "How to authenticate.", object{"type": "string"}, true},
	http.StatusTooManyRequests:    {"Retry-After", "After how many seconds to try again.", object{"type": "integer", "minimum": 1}, true},
	http.StatusServiceUnavailable: {"Retry-After", "After how many seconds to try again.", object{"type": "integer", "minimum": 1}, false},
}

// response describes one answer. To a HEAD there is no body.
func (d description) response(r route, status int) object {
	response := object{"description": meanings[status]}
	if status < http.StatusMultipleChoices {
		response["description"] = "It is done."
	}
	if header, has := headers[status]; has {
		response["headers"] = object{header.name: object{"description": header.says, "required": header.always, "schema": header.schema}}
	}
	if r.method == http.MethodHead || status == http.StatusNotModified {
		return response
	}
	kind, schema := "application/json", d.schema(reflect.TypeFor[errorBody](), false)
	switch {
	case status == r.success():
		kind, schema = d.success(r)
	case r.path == "/readyz":
		schema = d.schema(reflect.TypeOf(r.gives), false)
	case r.path == queryPath && status == http.StatusUnprocessableEntity:
		schema = d.schema(reflect.TypeFor[sqlErrorAnswer](), false)
	}
	response["content"] = object{kind: object{"schema": schema}}
	return response
}

// statsParameters are what readStatsPage reads.
func statsParameters() []object {
	var orders []string
	for _, order := range slices.Sorted(maps.Keys(statsOrders)) {
		orders = append(orders, order, "-"+order)
	}
	parameter := func(name, says string, schema object) object {
		return object{"name": name, "in": "query", "description": says, "schema": schema}
	}
	return []object{
		parameter("search", "Only workspaces whose id contains it, in any case.", object{"type": "string", "maxLength": maxStatsSearch}),
		parameter("sort", "The order of the pages; with a minus it is reversed. Not given: id, where digits count as numbers.", object{"type": "string", "enum": orders}),
		parameter("limit", "How many workspaces the answer has at most.", object{"type": "integer", "minimum": 0, "maximum": maxStatsWorkspaces, "default": maxStatsWorkspaces}),
		parameter("offset", "How many workspaces of that order come before the answer's first. Pages are of different moments: one that moves meanwhile may be on both or on none.", object{"type": "integer", "minimum": 0, "default": 0}),
	}
}

func joined(roles []Role) string {
	var names []string
	for _, role := range roles {
		names = append(names, string(role))
	}
	return strings.Join(names, ", ")
}

// success is the content when all went well.
func (d description) success(r route) (kind string, schema object) {
	kind = otherContent[r.path]
	switch {
	case kind == "application/zip":
		return kind, object{} // no text
	case kind != "":
		return kind, object{"type": "string"}
	}
	schema = object{"type": "object"}
	if r.gives != nil {
		schema = d.schema(reflect.TypeOf(r.gives), false)
	}
	return "application/json", schema
}

// anything says so in full: readers of older versions take {} for anything but null.
var anything = object{"type": []string{"null", "boolean", "number", "string", "array", "object"}}

func reference(t reflect.Type) object { return object{"$ref": "#/components/schemas/" + t.Name()} }

// schema is the JSON Schema of what encoding/json makes of the type. Bodies that
// are read are strict: other fields are refused.
func (d description) schema(t reflect.Type, strict bool) object {
	switch {
	case t == reflect.TypeFor[Role]():
		return object{"type": "string", "enum": roles}
	case t == reflect.TypeFor[model.WorkspaceID]():
		return object{"type": "string", "pattern": "^[A-Za-z0-9_-]+$", "maxLength": 63}
	case t == reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[json.RawMessage]():
		return maps.Clone(anything)
	case t == reflect.TypeFor[json.Number]():
		return object{"type": "number"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return d.schema(t.Elem(), strict)
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return object{"type": "integer", "minimum": 0}
	case reflect.Float32, reflect.Float64:
		return object{"type": "number"}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Slice, reflect.Array:
		return object{"type": "array", "items": d.schema(t.Elem(), strict)}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": d.schema(t.Elem(), strict)}
	case reflect.Struct:
		return d.structure(t, strict)
	}
	return maps.Clone(anything)
}

// structure files the struct's schema under its name and refers to it.
func (d description) structure(t reflect.Type, strict bool) object {
	if _, known := d.schemas[t.Name()]; known {
		return reference(t)
	}
	properties := object{}
	schema := object{"type": "object", "properties": properties}
	d.schemas[t.Name()] = schema // before its fields: one may be of the same type
	required := []string{}
	for _, field := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "-" || !field.IsExported() || field.Anonymous {
			continue
		}
		if name == "" {
			name = field.Name
		}
		property := d.schema(field.Type, strict)
		omitted := strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero")
		if field.Type.Kind() == reflect.Pointer && !omitted {
			property = object{"anyOf": []object{property, {"type": "null"}}}
		}
		maps.Copy(property, d.bounds(t.Name()+"."+name))
		properties[name] = property
		if !omitted {
			required = append(required, name)
		}
	}
	if len(required) > 0 {
		schema["required"] = required
	}
	if strict {
		schema["additionalProperties"] = false
	}
	return reference(t)
}

// bounds are what a field of a body must keep to besides its type, or what there is to
// say of it.
func (d description) bounds(field string) object {
	switch field {
	case "queryAnswer.rows":
		return object{"description": "int8 and numeric are strings, so that no digit is lost where numbers are doubles; int2, int4, oid, float4 and float8 are numbers (NaN and Infinity strings); bool is a JSON bool; json and jsonb are the JSON that is stored, white space aside: numbers in them have all their digits, and what json keeps twice comes twice; NULL is null, and all else is PostgreSQL's text."}
	case "queryAnswer.notices":
		return object{"description": "PostgreSQL's warnings and notices, the first 20 of them; noticesLost is how many more there were."}
	case "noticeAnswer.cut":
		return object{"description": "Message, detail and hint were longer than 2 KiB together, and were cut."}
	case "queryRequest.sql":
		return object{"minLength": 1, "description": "One statement. Nothing of its session lasts: what set_config sets, temporary tables and advisory locks end with the statement. Commands that only make sense in a longer session or transaction (BEGIN, SET, LISTEN, PREPARE, LOCK and the like) are refused, with SQLSTATE 0A000."}
	case "queryRequest.args":
		return object{"maxItems": model.MaxParameters}
	case "queryRequest.timeoutMs":
		return object{"minimum": 1, "maximum": d.limits.Timeout.Milliseconds(), "description": "How long the statement may take, from the request's arrival on; not given: the maximum. Then it is cancelled. Where PostgreSQL does not answer that, the 504 comes up to a second later."}
	case "pauseRequest.waitMs":
		return object{"minimum": 0, "maximum": pauseWaitMax.Milliseconds()}
	case "limitsRequest.maxConnections":
		return object{"minimum": 20, "maximum": 10_000}
	case "limitsRequest.maxConnectionsPerDB":
		return object{"minimum": 1, "maximum": 50}
	case "limitsAnswer.warning":
		return object{"description": "The limits are set all the same, but the database server grants fewer connections, or did not say how many within a second."}
	case "drainRequest.confirm":
		return object{"const": "drain"}
	}
	return nil
}
