package clients

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// python finds an interpreter that has a module, Debian's rather than another.
func python(t *testing.T, module string) string {
	t.Helper()
	for _, name := range []string{"/usr/bin/python3", "python3"} {
		if path, err := exec.LookPath(name); err == nil && exec.Command(path, "-c", "import "+module).Run() == nil {
			return path
		}
	}
	t.Skipf("Python's %s is not installed: apt-get install python3-%s, or the like", module, module)
	return ""
}

func TestPsycopg3(t *testing.T) {
	onlyLong(t)
	python := python(t, "psycopg")
	everywhere(t, func(t *testing.T, at place) { t.Log(at.run(t, "", python, "testdata/psycopg_3.py")) })
}

func TestPsycopg2(t *testing.T) {
	onlyLong(t)
	python := python(t, "psycopg2")
	everywhere(t, func(t *testing.T, at place) { t.Log(at.run(t, "", python, "testdata/psycopg_2.py")) })
}

func TestJDBC(t *testing.T) {
	onlyLong(t)
	java := program(t, "default-jdk-headless", "java")
	const driver = "/usr/share/java/postgresql.jar"
	if _, err := os.Stat(driver); err != nil {
		t.Skip("PostgreSQL's JDBC driver is not installed: apt-get install libpostgresql-jdbc-java, or the like")
	}
	everywhere(t, func(t *testing.T, at place) { t.Log(at.run(t, "", java, "-cp", driver, "testdata/Door.java")) })
}

func TestNodePostgres(t *testing.T) {
	onlyLong(t)
	npm, node := program(t, "npm", "npm"), program(t, "nodejs", "node")
	folder := t.TempDir()
	if err := os.CopyFS(folder, os.DirFS(filepath.Join("testdata", "node"))); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	cmd.Dir = folder
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("node-postgres is not installed, and cannot be downloaded: %v\n%s", err, said)
	}
	everywhere(t, func(t *testing.T, at place) { t.Log(at.run(t, "", node, filepath.Join(folder, "door.js"))) })
}
