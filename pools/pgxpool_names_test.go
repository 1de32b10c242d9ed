package pools_test

import (
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenantpool/tenantpool/pools"
)

// exportedNames are those of the package in the folder: functions, constants and
// variables; types, T.Field, T.Method.
func exportedNames(t *testing.T, folder string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatal(folder, err)
	}
	names := map[string]bool{}
	add := func(owner string, identifiers ...*ast.Ident) {
		for _, name := range identifiers {
			if name.IsExported() && (owner == "" || ast.IsExported(owner)) {
				names[strings.TrimPrefix(owner+"."+name.Name, ".")] = true
			}
		}
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, declaration := range parsed.Decls {
			switch d := declaration.(type) {
			case *ast.FuncDecl:
				owner := ""
				if d.Recv != nil {
					of := d.Recv.List[0].Type
					if pointer, ok := of.(*ast.StarExpr); ok {
						of = pointer.X
					}
					name, ok := of.(*ast.Ident)
					if !ok {
						continue // a generic type's
					}
					owner = name.Name
				}
				add(owner, d.Name)
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch s := spec.(type) {
					case *ast.ValueSpec:
						add("", s.Names...)
					case *ast.TypeSpec:
						add("", s.Name)
						var members *ast.FieldList
						switch of := s.Type.(type) {
						case *ast.StructType:
							members = of.Fields
						case *ast.InterfaceType:
							members = of.Methods
						}
						if members != nil {
							for _, member := range members.List {
								add(s.Name.Name, member.Names...)
							}
						}
					}
				}
			}
		}
	}
	return names
}

func folderOf(t *testing.T, path string) string {
	t.Helper()
	found, err := build.Import(path, ".", build.FindOnly)
	if err != nil {
		t.Fatal(err)
	}
	return found.Dir
}

// namesHere are those that the pages use, of pools without the package's name.
func namesHere(t *testing.T) map[string]bool {
	t.Helper()
	here := exportedNames(t, ".")
	for prefix, folder := range map[string]string{"model.": "../model", "pgx.": folderOf(t, "github.com/jackc/pgx/v5")} {
		for name := range exportedNames(t, folder) {
			here[prefix+name] = true
		}
	}
	return here
}

// docs/pgxpool.md says of each name of pgxpool what it is here.
func TestEachNameOfPgxpoolIsInTheTable(t *testing.T) {
	text, err := os.ReadFile("../docs/pgxpool.md")
	if err != nil {
		t.Fatal(err)
	}
	here := namesHere(t)
	types := map[string]reflect.Type{
		"Pool": reflect.TypeFor[*pgxpool.Pool](), "Conn": reflect.TypeFor[*pgxpool.Conn](), "Tx": reflect.TypeFor[*pgxpool.Tx](),
	}
	typesHere := map[string]reflect.Type{
		"Workspace": reflect.TypeFor[*pools.Workspace](), "Conn": reflect.TypeFor[*pools.Conn](), "pgx.Tx": reflect.TypeFor[pgx.Tx](),
	}
	missing := exportedNames(t, folderOf(t, "github.com/jackc/pgx/v5/pgxpool"))
	if len(missing) < 80 {
		t.Errorf("pgxpool has only %d names: %q", len(missing), slices.Sorted(maps.Keys(missing)))
	}
	compared := 0
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (.+?) \\| (.+) \\|$").FindAllStringSubmatch(string(text), -1) {
		name, is, remark := row[1], row[2], row[3]
		if !missing[name] {
			t.Errorf("%s is no name of pgxpool, or is there twice", name)
		}
		delete(missing, name)
		if is == "left out" {
			continue
		}
		for _, found := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(is, -1) {
			if !here[found[1]] {
				t.Errorf("%s: there is no %s", name, found[1])
			}
		}
		if strings.HasPrefix(remark, "same") {
			compared++
			first := regexp.MustCompile("^`([^`]+)`").FindStringSubmatch(is)[1]
			if theirs, ours := signature(types, name), signature(typesHere, first); theirs == "" || theirs != ours {
				t.Errorf("%s is said to be the same as %s:\n%s\n%s", name, first, theirs, ours)
			}
		}
	}
	for name := range missing {
		t.Errorf("%s is missing", name)
	}
	if compared < 25 {
		t.Errorf("only %d names are the same", compared)
	}
}

// signature is that of a method, without its receiver and without the packages that the
// types are of.
func signature(types map[string]reflect.Type, name string) string {
	dot := strings.LastIndex(name, ".")
	of, known := types[name[:max(dot, 0)]]
	if !known {
		return ""
	}
	method, _ := of.MethodByName(name[dot+1:])
	if method.Type == nil {
		return ""
	}
	s := method.Type.String()
	if of.Kind() != reflect.Interface {
		s = regexp.MustCompile(`^func\([^,)]+(, )?`).ReplaceAllString(s, "func(")
	}
	return strings.NewReplacer("pgxpool.", "", "pools.", "").Replace(s)
}

// The pages for those who come from elsewhere name nothing that is not there.
func TestThePagesForMigratingNameWhatThereIs(t *testing.T) {
	pages, err := filepath.Glob("../docs/migrating/*.md")
	if err != nil || len(pages) < 6 {
		t.Fatal(pages, err)
	}
	here := namesHere(t)
	configuration, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile("../docs/examples/migrating/differences_test.go")
	if err != nil {
		t.Fatal(err)
	}
	more, err := os.ReadFile("../docs/examples/migrating/main_test.go")
	if err != nil {
		t.Fatal(err)
	}
	tests = append(tests, more...)
	named := 0
	for _, page := range append(pages, "../docs/pgxpool.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		prose := regexp.MustCompile("(?s)```.*?```").ReplaceAllString(string(text), "")
		for _, name := range regexp.MustCompile(`\b(?:Manager|Workspace|Conn|Hooks|pools|model)\.[A-Z]\w*`).FindAllString(prose, -1) {
			named++
			pgxpools := strings.HasSuffix(page, "pgxpool.md") && strings.HasPrefix(name, "Conn.")
			if !here[strings.TrimPrefix(name, "pools.")] && !pgxpools {
				t.Errorf("%s: there is no %s", page, name)
			}
		}
		for _, name := range regexp.MustCompile(`\b(?:DB|PGSSL)_?[A-Z_]+\b`).FindAllString(prose, -1) {
			named++
			if !strings.Contains(string(configuration), "`"+name+"`") {
				t.Errorf("%s: there is no variable %s", page, name)
			}
		}
		for _, name := range regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(prose, -1) {
			if name[1] != "TestEachNameOfPgxpoolIsInTheTable" && !strings.Contains(string(tests), "func "+name[1]+"(") {
				t.Errorf("%s: there is no test %s", page, name[1])
			}
		}
	}
	if named < 100 {
		t.Errorf("only %d names", named)
	}
}
