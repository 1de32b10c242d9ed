package clients

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// Newer versions of pg_dump put a random word around what they write.
var random = regexp.MustCompile(`(?m)^\\(un)?restrict .*\n`)

func dumped(text string) string { return random.ReplaceAllString(text, "") }

func TestDumpAndRestore(t *testing.T) {
	dump, restore, psql := ofPostgreSQL(t, "pg_dump"), ofPostgreSQL(t, "pg_restore"), ofPostgreSQL(t, "psql")
	schema, err := os.ReadFile("testdata/dump.sql")
	if err != nil {
		t.Fatal(err)
	}
	everywhere(t, func(t *testing.T, at place) {
		at.run(t, string(schema), psql, "-X", "-q", "-v", "ON_ERROR_STOP=1")
		plain := dumped(at.direct().run(t, "", dump))
		same(t, "pg_dump", dumped(at.run(t, "", dump)), plain)

		for name, options := range map[string]struct{ dump, restore []string }{
			"custom":    {[]string{"-Fc"}, nil},
			"directory": {[]string{"-Fd", "-j", "2"}, []string{"-j", "2"}}, // two sessions with one snapshot
		} {
			t.Run(name, func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "dump")
				at.run(t, "", dump, append(options.dump, "-f", file)...)
				to := at
				to.database = freshDatabase(t)
				to.run(t, "", restore, append(options.restore, "--exit-on-error", "-d", to.database, file)...)
				same(t, "what was restored", dumped(to.direct().run(t, "", dump)), plain)
			})
		}
	})
}
