//go:build unix

package localpg

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// programsIn makes a folder with empty programs.
func programsIn(t *testing.T, folder string, names ...string) string {
	t.Helper()
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(folder, name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func noDownload(t *testing.T) func(context.Context) (string, error) {
	return func(context.Context) (string, error) {
		t.Error("it downloads")
		return "", errors.New("no download here")
	}
}

func TestWhichBinaries(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	in := func(parts ...string) string { return filepath.Join(append([]string{root}, parts...)...) }
	for _, v := range []string{"9.6", "10", "17"} {
		programsIn(t, in("deb", v, "bin"), "initdb", "postgres")
	}
	programsIn(t, in("deb", "18", "bin"), "initdb") // a client package
	programsIn(t, in("brew", "postgresql", "bin"), "initdb", "postgres")
	programsIn(t, in("brew", "postgresql@9", "bin"), "initdb", "postgres")
	programsIn(t, in("brew", "postgresql@16", "bin"), "initdb", "postgres")
	real := programsIn(t, in("cellar", "bin"), "initdb", "postgres")
	links := programsIn(t, in("links"))
	if err := os.Symlink(in("cellar", "bin", "initdb"), in("links", "initdb")); err != nil {
		t.Fatal(err)
	}
	apart := programsIn(t, in("apart"), "postgres") // initdb is elsewhere
	plain := programsIn(t, in("plain"), "initdb", "postgres")
	if err := os.WriteFile(filepath.Join(programsIn(t, in("data"), "initdb"), "postgres"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	deb, brew := in("deb", "*", "bin"), in("brew", "postgresql*", "bin")

	for name, test := range map[string]struct {
		where places
		want  string
	}{
		"PG_BIN first":                  {places{bin: plain, path: []string{links}, patterns: []string{deb}}, plain},
		"PATH second, through the link": {places{path: []string{apart, links, plain}, patterns: []string{deb}}, real},
		"PATH without links":            {places{path: []string{"", apart, plain}}, plain},
		"the newest version":            {places{path: []string{apart}, patterns: []string{deb, brew}}, in("deb", "17", "bin")},
		"the newest of Homebrew":        {places{patterns: []string{in("none", "*"), brew, deb}}, in("brew", "postgresql@16", "bin")},
		"only what may be run":          {places{path: []string{in("data")}, patterns: []string{brew}}, in("brew", "postgresql@16", "bin")},
	} {
		t.Run(name, func(t *testing.T) {
			test.where.downloads = noDownload(t)
			if got, err := findBinaries(t.Context(), test.where); got != test.want || err != nil {
				t.Errorf("%s, %v; want %s", got, err, test.want)
			}
		})
	}

	t.Run("the download last", func(t *testing.T) {
		got, err := findBinaries(t.Context(), places{path: []string{apart}, downloads: func(context.Context) (string, error) {
			return "downloaded", nil
		}})
		if got != "downloaded" || err != nil {
			t.Errorf("%s, %v", got, err)
		}
	})
}

func TestAWrongPGBIN(t *testing.T) {
	t.Setenv("PG_BIN", "/no/such/folder")
	s, err := Start(t.Context(), Options{})
	if err == nil {
		_ = s.Stop()
		t.Fatal("it started")
	}
	for _, want := range []string{`PG_BIN is "/no/such/folder"`, "/no/such/folder/initdb", "initdb and postgres"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
}

func TestNoBinariesAndNoDownload(t *testing.T) {
	dir := openTemp(t)
	t.Setenv("TMPDIR", dir)
	cause := errors.New("the host cannot be reached")
	s, err := start(t.Context(), Options{}, machine{port: freePort, places: places{
		path:      []string{dir},
		patterns:  []string{filepath.Join(dir, "*", "bin")},
		downloads: func(context.Context) (string, error) { return "", cause },
	}})
	if err == nil {
		_ = s.Stop()
		t.Fatal("it started")
	}
	if !errors.Is(err, ErrNoBinaries) || !errors.Is(err, cause) {
		t.Errorf("the error is of no known kind: %v", err)
	}
	for _, want := range []string{"apt-get install postgresql", "brew install postgresql", "PG_BIN", "allow the download", dir} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("the error is not one line: %v", err)
	}
	if left := entries(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
