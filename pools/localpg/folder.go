package localpg

import (
	"crypto/rand"
	"fmt"
	"io"
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

// openLog opens the server's log for appending.
func (s *Server) openLog() (*os.File, error) {
	log, err := os.OpenFile(filepath.Join(s.folder, logFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("localpg: open the server's log: %w", err)
	}
	return log, nil
}

// logSince returns the log from a byte offset on.
func (s *Server) logSince(offset int64) string {
	file, err := os.Open(filepath.Join(s.folder, logFile))
	if err != nil {
		return ""
	}
	defer func() { _ = file.Close() }()
	text, _ := io.ReadAll(io.NewSectionReader(file, offset, 1<<30))
	return string(text)
}

// logSize is an offset for logSince.
func (s *Server) logSize() int64 {
	info, err := os.Stat(filepath.Join(s.folder, logFile))
	if err != nil {
		return 0
	}
	return info.Size()
}

// tailLines is how much of the log an error shows.
const tailLines = 20

// LogTail returns the last lines of the server's log, also after Stop. It holds
// no password of localpg's.
func (s *Server) LogTail() string {
	if s.stopped {
		return s.lastLog
	}
	lines := strings.Split(strings.TrimRight(s.logSince(max(0, s.logSize()-16<<10)), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}
