package door

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

func TestSettingsOfNobodyAreReadOffTheStatement(t *testing.T) {
	long := strings.Repeat("a", 64)
	for _, c := range []struct {
		sql     string
		effects effects
		customs customs
	}{
		{"SET app.who = 'x'", sets, customs{"app.who"}},
		{"SET /**/ SESSION App.\"Who\" TO 'x'", sets, customs{"app.who"}},
		{"SET \"app.who\" = 'x'; SELECT f(1)", sets | unknown, customs{"app.who"}},
		{"SET session.who = 'x'", sets | unknown | unpins, nil},
		{"SET a.b.c = 'x'; SELECT pg_catalog.\"set_config\"('d.e', $1, false)", sets, customs{"a.b.c", "d.e"}},
		{"SET LOCAL app.who = 'x'; SELECT set_config('app.who', $1, true)", 0, nil},
		{"SELECT '\\'; SET a.b = 1; --'; SET c.d = 1", sets, customs{"a.b", "c.d"}},
		{"SET app.\"a\"\"b\" = 1", sets | unknown, nil},
		{"SET app." + long + " = 1", sets | unknown, nil},
		{"SET \"app." + long + "\" = 1", sets | unknown, nil},
		{"SELECT set_config('app." + long + "', '', false)", sets | unknown, nil},
		{"SET a" + strings.Repeat("."+long[1:], 5) + " = 1", sets | unknown, nil},
		{"SET app.é = 1", sets | unknown, nil},
		{"SELECT set_config(E'app\\x2ewho', '', false)", sets | unknown | unpins, nil},
		{"SET work_mem = 1", sets, nil},
		{"UPDATE t SET a.b = 1", 0, nil},
	} {
		found, names := customs(nil).effectsOf(c.sql)
		if found != c.effects || !slices.Equal(names, c.customs) {
			t.Errorf("%s\n is %s, %q", c.sql, found.words(), names)
		}
	}
	if names := customsOf([]parameter{{"b.C", ""}, {"work_mem", ""}, {"A.b", ""}, {"b.c", ""}}); !slices.Equal(names, customs{"a.b", "b.c"}) {
		t.Error(names)
	}
	var known customs
	for i := range customsAtMost {
		_, known = known.effectsOf(fmt.Sprintf("SET app.a%d = 1", i))
	}
	if len(known) != customsAtMost {
		t.Error(known)
	}
	if found, names := known.effectsOf("SET app.a1 = 1"); found != sets || !slices.Equal(names, known) {
		t.Error(found.words(), names)
	}
	if found, names := known.effectsOf("SET app.one_more = 1"); found != sets|unknown || !slices.Equal(names, known) {
		t.Error(found.words(), names)
	}
}

func TestNamesOfSettingsOutliveTheBufferTheyWereReadFrom(t *testing.T) {
	buffer := []byte(`SET "a.b" = 1; SELECT set_config('c.d', '', false)`)
	_, names := customs(nil).effectsOf(unsafe.String(&buffer[0], len(buffer)))
	clear(buffer)
	if !slices.Equal(names, customs{"a.b", "c.d"}) {
		t.Errorf("%q", names)
	}
}

func TestSettingsOfNobodyGoFromSessionToSession(t *testing.T) {
	open := judges(t)
	a, b := open(), open()
	const sql = `SET app.who = 'it''s me'; SET "app.Empty" = ''; SET app.gone = 'x'; RESET app.gone; SET plpgsql.extra_errors = 'all'`
	a.ask(sql)
	_, names := customs(nil).effectsOf(sql)
	_, names = names.effectsOf("SET app.never = 1")
	is := settingsOf(a.ask(names.askSettings()), false)
	want := []parameter{{"app.empty", ""}, {"app.gone", ""}, {"app.who", "it's me"}, {"plpgsql.extra_errors", "all"}}
	if !slices.Equal(is.all(), want) {
		t.Errorf("it is %q", is.all())
	}
	b.ask(is.replay(nil))
	if got := settingsOf(b.ask(names.askSettings()), false); !slices.Equal(got.all(), want) {
		t.Errorf("the other is %q", got.all())
	}
	b.ask((*settings)(nil).replay(is))
	got := b.ask("SELECT current_setting('app.who'), current_setting('plpgsql.extra_errors')")[0]
	if !slices.Equal(got, []string{"", ""}) {
		t.Errorf("there is %q left", got)
	}
}
