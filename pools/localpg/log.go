package localpg

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

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
