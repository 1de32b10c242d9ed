package bench

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// silent is a terminal that nobody looks at.
var silent = Terminal{
	Println: func(string) {},
	Show:    func(string) {},
	Progress: func(_ string, _ int, done <-chan struct{}) {
		for range done {
		}
	},
}

func quietLog() logrus.FieldLogger {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return log
}

// openTemp is a folder for temporary files that every user may enter: started by
// root, the servers run as another one.
func openTemp(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("TMPDIR", dir)
	return dir
}

// small is a run of a few seconds.
func small() Options {
	o := Default()
	o.Workspaces, o.Budget, o.Cap, o.Workers = 12, 20, 3, 8
	o.For, o.Rounds = shortTurn, 1
	return o
}
