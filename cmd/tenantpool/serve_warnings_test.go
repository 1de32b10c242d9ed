package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tenantpool/tenantpool/web"
)

func TestServeWarnsOfASuperuserAndOfAPrivateKey(t *testing.T) {
	pg := shared.Server(t)
	superuserName, superuserPassword := superuser(pg)
	key := web.NewPrivateKey()
	for name, value := range map[string]string{
		"DB_HOST": pg.Host, "DB_PORT": fmt.Sprint(pg.Port), "DB_NAME": pg.Database, "DB_SSLMODE": "disable", "DB_MAX_CONNECTIONS": "20",
		"PASETO_PUBLIC_KEY": key.Public().String(), "TENANTPOOL_ADDR": "127.0.0.1:0",
	} {
		t.Setenv(name, value)
	}
	for _, with := range []struct {
		user, password, privateKey string
		warnings                   int
	}{
		{pg.User, pg.Password, "", 0},
		{superuserName, superuserPassword, key.Hex(), 2},
	} {
		t.Setenv("DB_USER", with.user)
		t.Setenv("DB_PASSWORD", with.password)
		t.Setenv("PASETO_PRIVATE_KEY", with.privateKey)
		p := start(t, "serve")
		for line, ok := p.next(); ok && !strings.Contains(line, `"message":"Serving"`); line, ok = p.next() {
		}
		p.interrupt()
		if status := p.exit(); status != 0 {
			t.Errorf("exit status %d:\n%s", status, p.stderr())
		}
		said := p.stderr()
		if n := strings.Count(said, `"level":"warning"`); n != with.warnings {
			t.Errorf("as %s: %d warnings, want %d:\n%s", with.user, n, with.warnings, said)
		}
		if with.warnings > 0 && (!strings.Contains(said, "DB_USER is a superuser") || !strings.Contains(said, "PASETO_PRIVATE_KEY is set")) {
			t.Errorf("it says\n%s", said)
		}
		if strings.Contains(said, key.Hex()) || strings.Contains(said, with.password) {
			t.Errorf("it tells a secret:\n%s", said)
		}
	}
}
