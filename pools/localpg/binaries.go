package localpg

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// ErrNoBinaries says that there is no PostgreSQL on this machine and that it
// could not be downloaded.
var ErrNoBinaries = errors.New("no PostgreSQL found")

// programs are what Start runs, both from the same folder.
var programs = []string{"initdb", "postgres"}

// places is where to look for PostgreSQL.
type places struct {
	bin       string   // PG_BIN; if set, the only place
	path      []string // the folders of PATH
	patterns  []string // globs, in order
	downloads func(context.Context) (folder string, err error)
}

// usualPlaces are those of this machine.
func usualPlaces() places {
	return places{
		bin:  os.Getenv("PG_BIN"),
		path: filepath.SplitList(os.Getenv("PATH")),
		patterns: []string{
			"/usr/lib/postgresql/*/bin",         // Debian, Ubuntu
			"/opt/homebrew/opt/postgresql*/bin", // Homebrew on ARM
			"/usr/local/opt/postgresql*/bin",    // Homebrew on Intel
			"/usr/pgsql-*/bin",                  // RHEL with PostgreSQL's own packages
		},
		downloads: download,
	}
}

// findBinaries returns the folder to take initdb and postgres from.
func findBinaries(ctx context.Context, where places) (string, error) {
	if where.bin != "" {
		if missing := lacks(where.bin); missing != "" {
			return "", fmt.Errorf("localpg: PG_BIN is %q, but there is no program %s: set it to the folder that holds %s, or unset it to search the usual places",
				where.bin, filepath.Join(where.bin, missing), strings.Join(programs, " and "))
		}
		return filepath.Abs(where.bin)
	}
	for _, folder := range where.path {
		if found := onPath(folder); found != "" {
			return found, nil
		}
	}
	for _, pattern := range where.patterns {
		folders, _ := filepath.Glob(pattern) // fails for a bad pattern only
		slices.SortStableFunc(folders, func(a, b string) int { return slices.Compare(version(b), version(a)) })
		for _, folder := range folders {
			if lacks(folder) == "" {
				return folder, nil
			}
		}
	}
	folder, err := where.downloads(ctx)
	if err != nil {
		return "", fmt.Errorf("localpg: %w: initdb and postgres are neither in PATH nor in %s, and the download failed (%w). Install PostgreSQL (Debian, Ubuntu: apt-get install postgresql; macOS: brew install postgresql), or set PG_BIN to the folder that holds initdb and postgres, or allow the download from %s",
			ErrNoBinaries, strings.Join(where.patterns, ", "), err, repository)
	}
	return folder, nil
}

// onPath looks into one folder of PATH. What is there is often a link; only
// beside its target are the other programs that PostgreSQL calls.
func onPath(folder string) string {
	absolute, err := filepath.Abs(cmp.Or(folder, "."))
	if err != nil {
		return ""
	}
	if target, err := filepath.EvalSymlinks(filepath.Join(absolute, programs[0])); err == nil {
		if beside := filepath.Dir(target); lacks(beside) == "" {
			return beside
		}
	}
	if lacks(absolute) == "" {
		return absolute
	}
	return ""
}

// lacks returns the first program that is not in the folder, or "".
func lacks(folder string) string {
	for _, program := range programs {
		info, err := os.Stat(filepath.Join(folder, program))
		if err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
			return program
		}
	}
	return ""
}

var digits = regexp.MustCompile(`[0-9]+(\.[0-9]+)*`)

// version is the last number in a path, part by part: 9.6 comes before 10.
func version(path string) []int {
	numbers := digits.FindAllString(path, -1)
	if len(numbers) == 0 {
		return nil
	}
	var parts []int
	for part := range strings.SplitSeq(numbers[len(numbers)-1], ".") {
		number, _ := strconv.Atoi(part)
		parts = append(parts, number)
	}
	return parts
}
