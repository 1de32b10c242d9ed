package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
)

// object is a JSON object of the description.
type object = map[string]any

func (s *Server) openAPI(c echo.Context) error {
	return c.JSONBlob(http.StatusOK, s.description)
}

// describeRoutes makes the OpenAPI description of the routes. It is made of what the
// handlers themselves read and write, so that the two cannot differ.
func describeRoutes(routes []route) ([]byte, error) {
	d := description{schemas: object{}}
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
			"securitySchemes": object{"token": object{
				"type": "http", "scheme": "bearer", "bearerFormat": "PASETO v4.public",
				"description": "A token of tenantpool token.",
			}},
		},
	})
}

// otherContent is what routes answer that do not answer with JSON.
var otherContent = map[string]string{
	"/":                 "text/html",
	"/assets/*":         "*/*",
	metricsPath:         "text/plain",
	"/api/admin.events": "text/event-stream",
	dumpPath:            "application/zip",
}

// describedPath is the path in OpenAPI's notation.
func describedPath(path string) string { return strings.Replace(path, "*", "{file}", 1) }

// operationID is the call's name: admin.drain, healthz, and so on.
func operationID(r route) string {
	switch {
	case r.path == "/":
		return "dashboard"
	case strings.HasSuffix(r.path, "*"):
		return "asset"
	}
	return strings.TrimSuffix(path.Base(r.path), ".json")
}

// description collects the schemas on the way.
type description struct{ schemas object }

func (d description) operation(r route) object {
	success := fmt.Sprint(http.StatusOK)
	if r.path == "/api/workspace.create" {
		success = fmt.Sprint(http.StatusCreated)
	}
	responses := object{
		success:   d.success(r),
		"default": d.failure("It failed."),
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
	if slices.Contains(r.roles, public) {
		operation["description"] = "Anybody may call it."
		operation["security"] = []object{}
	} else {
		operation["description"] = "Roles: " + joined(r.roles) + "."
		operation["security"] = []object{{"token": []string{}}}
		responses["401"] = d.failure("There is no token, or it is not valid.")
		responses["403"] = d.failure("The token's role may not do this.")
	}
	if r.takes != nil {
		operation["requestBody"] = object{
			"required": reflect.TypeOf(r.takes).NumField() > 0,
			"content":  object{"application/json": object{"schema": d.schema(reflect.TypeOf(r.takes), true)}},
		}
		responses["400"] = d.failure("The body is not what it must be.")
		responses["413"] = d.failure("The body is too large.")
		responses["415"] = d.failure("The body is not said to be JSON.")
	}
	return operation
}

func joined(roles []Role) string {
	var names []string
	for _, role := range roles {
		names = append(names, string(role))
	}
	return strings.Join(names, ", ")
}

func (d description) success(r route) object {
	kind := otherContent[r.path]
	if kind == "" {
		kind = "application/json"
	}
	schema := object{"type": "string"}
	if r.gives != nil {
		schema = d.schema(reflect.TypeOf(r.gives), false)
	}
	if kind == "application/zip" {
		schema = object{} // no text
	}
	return object{"description": "It is done.", "content": object{kind: object{"schema": schema}}}
}

func (d description) failure(why string) object {
	return object{
		"description": why,
		"content":     object{"application/json": object{"schema": reference(reflect.TypeFor[errorBody]())}},
	}
}

func reference(t reflect.Type) object { return object{"$ref": "#/components/schemas/" + t.Name()} }

// schema is the JSON Schema of what encoding/json makes of the type. Bodies that
// are read are strict: other fields are refused.
func (d description) schema(t reflect.Type, strict bool) object {
	switch {
	case t == reflect.TypeFor[Role]():
		return object{"type": "string", "enum": roles}
	case t == reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[json.RawMessage]():
		return object{}
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
	return object{} // anything
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
