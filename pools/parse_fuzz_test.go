package pools

import (
	"maps"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// What ParseConfig takes reaches pgx as if pgx had been given the string itself; what it
// refuses it refuses without the password.
func FuzzParseConfig(f *testing.F) {
	for _, text := range []string{
		"postgres://u:PASS@h:5432/d?sslmode=disable&search_path=a", "host=h user=u password=PASS dbname=d",
		`host='a b' user=o\'brien password='PASS\\ x' dbname=d application_name=x\ y`, "postgres://u:PASS@[::1]:1,b:2/d", "user=u password=PASS host=/tmp,b",
		"postgres://u:PASS@h:x/d", "password='PASS", "password=PASS pool_max_conns=9 pool_min_conns=1", "password = PASS host = h user= u", "postgres://%zz:PASS@h", "=PASS", "user=u password=PASS target_session_attrs=standby connect_timeout=3",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		noLibpqVariables(t)
		t.Setenv("HOME", t.TempDir())
		text = strings.ReplaceAll(text, "PASS", canary)
		if !strings.Contains(text, "password") && !strings.Contains(text, ":"+canary+"@") && strings.Contains(text, canary) {
			t.Skip("it is no password there")
		}
		cfg, err := ParseConfig(text)
		if err != nil {
			if strings.Contains(err.Error(), canary) {
				t.Errorf("%q: the password is in: %v", text, err)
			}
			return
		}
		want, err := pgx.ParseConfig(text)
		if err != nil {
			t.Fatalf("%q: pgx says %v", text, err)
		}
		got, err := connConfig(cfg)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if got.User != want.User || got.Password != want.Password || want.Database != "" && got.Database != want.Database || got.Host != want.Host || got.Port != want.Port {
			t.Errorf("%q:\ngot  %s@%s:%d/%s\nwant %s@%s:%d/%s", text, got.User, got.Host, got.Port, got.Database, want.User, want.Host, want.Port, want.Database)
		}
		for _, params := range []map[string]string{got.RuntimeParams, want.RuntimeParams} {
			maps.DeleteFunc(params, func(name, _ string) bool {
				_, unused := unusedParameters[name]
				return unused || strings.HasPrefix(name, "pool_") || name == "application_name" || name == "ssl"
			})
		}
		if !maps.Equal(got.RuntimeParams, want.RuntimeParams) {
			t.Errorf("%q:\ngot  %q\nwant %q", text, got.RuntimeParams, want.RuntimeParams)
		}
	})
}
