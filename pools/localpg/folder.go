package localpg

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// What is in the server's folder.
const (
	dataFolder = "data"
	logFile    = "postgres.log"
)

// nameFolder decides where the server will live, without making it: in the
// folder for temporary files, or in /tmp if the account cannot go there; before
// both in memory, if that is wanted and there is room. Its last part also marks
// the server's processes.
func nameFolder(who account, inMemory bool) (string, error) {
	parents := []string{os.TempDir(), "/tmp"}
	if shm := Memory(); inMemory && shm != "" {
		parents = slices.Insert(parents, 0, shm)
	}
	for _, parent := range parents {
		absolute, err := filepath.Abs(parent)
		if err != nil {
			continue
		}
		resolved, err := filepath.EvalSymlinks(absolute)
		if err != nil || !who.reaches(resolved) {
			continue
		}
		return filepath.Join(resolved, "tenantpool-pg-"+strings.ToLower(rand.Text()[:16])), nil
	}
	return "", fmt.Errorf("localpg: %s may enter none of the folders for temporary files (%s): set TMPDIR to one it may enter",
		who.who(), strings.Join(parents, ", "))
}

// makeFolder makes the folder for the account alone.
func makeFolder(folder string, who account) error {
	if err := os.Mkdir(folder, 0o700); err != nil {
		return fmt.Errorf("localpg: make the server's folder: %w", err)
	}
	if err := who.own(folder); err != nil {
		return fmt.Errorf("localpg: give the server's folder to %s: %w", who.who(), err)
	}
	return nil
}

// clusterName is how the server's processes are marked.
func clusterName(folder string) string { return filepath.Base(folder) }
