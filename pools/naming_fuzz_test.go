package pools

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/tenantpool/tenantpool/model"
)

var validName = regexp.MustCompile(`\A[A-Za-z0-9_-]{1,63}\z`)

// Two workspaces never get one database, whatever the ids and the prefix; and the
// list of workspaces finds the ids again.
func FuzzDatabaseNames(f *testing.F) {
	long := strings.Repeat("x", 60)
	for _, seed := range [][3]string{
		{"tenantpool", "a-b", "a_b"}, {"app", "a", "A"}, {"a", "ws_b", "b"}, {"a_ws", "b", "_b"},
		{"p", long + "12", long + "13"}, {"p", long, long + "x"}, {"p", "a\x00", "a"}, {"p", "", "a"}, {"ä", "a", "b"},
		{strings.Repeat("p", 58), "a", "b"}, {strings.Repeat("p", 58), "ab", "ac"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, prefix, a, b string) {
		cfg := model.DefaultConfig()
		cfg.Prefix = prefix
		if cfg.Validate() != nil {
			t.Skip("no manager would have this prefix")
		}
		naming := checked(PrefixNaming(prefix), "postgres") // no workspace of a prefix has that name
		nameOfA, errA := naming(model.WorkspaceID(a))
		nameOfB, errB := naming(model.WorkspaceID(b))
		for _, it := range []struct {
			id, name string
			err      error
		}{{a, nameOfA, errA}, {b, nameOfB, errB}} {
			fits := validName.MatchString(it.id) && len(prefix)+len("_ws_")+len(it.id) <= 63
			var bad *model.WorkspaceIDError
			switch {
			case fits != (it.err == nil):
				t.Errorf("%q with the prefix %q: %q, %v", it.id, prefix, it.name, it.err)
			case it.err == nil && !validName.MatchString(it.name):
				t.Errorf("%q: the name %q", it.id, it.name)
			case it.err == nil && strings.TrimPrefix(it.name, databasePrefix(prefix)) != it.id:
				t.Errorf("%q cannot be told from the name %q", it.id, it.name)
			case it.err != nil && (it.name != "" || !errors.As(it.err, &bad)):
				t.Errorf("%q: %q, %v", it.id, it.name, it.err)
			case it.err != nil:
				text := it.err.Error()
				if len(text) > 1000 || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
					t.Errorf("%q: %d bytes of error: %q", it.id, len(text), text)
				}
			}
		}
		if errA == nil && errB == nil && (nameOfA == nameOfB) != (a == b) {
			t.Errorf("%q and %q are both %q", a, b, nameOfA)
		}
	})
}
