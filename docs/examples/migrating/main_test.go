// Package migrating_test is the code of the pages in docs/migrating, which is compiled and
// run. A file that ends in before_test.go is what people have, and not what they should.
package migrating_test

import (
	"context"
	"database/sql"
	"fmt"
	"reflect"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenantpool/tenantpool/docs/examples/internal/throwaway"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

func TestMain(m *testing.M) { throwaway.Main(m) }

// shop is what each before and each after is.
type shop interface {
	Order(ctx context.Context, tenant, item string) error
	Items(ctx context.Context, tenant string) ([]string, error)
	Close(ctx context.Context) error
}

// connString is that of the shop's database of a tenant.
func connString(tenant string) string { return connStringOf("shop_" + tenant) }

func connStringOf(database string) string {
	s := throwaway.Server
	return fmt.Sprintf("host=%s port=%d user=%s password=%s dbname=%s sslmode=disable", s.Host, s.Port, s.User, s.Password, database)
}

// tenant creates an empty shop, as a program did before it had a Manager.
func tenant(t *testing.T, name string) string {
	t.Helper()
	execIn(t, throwaway.Server.Database, `CREATE DATABASE `+pgx.Identifier{"shop_" + name}.Sanitize())
	execIn(t, "shop_"+name, `CREATE TABLE orders (id bigserial PRIMARY KEY, item text NOT NULL)`)
	return name
}

func execIn(t *testing.T, database, statement string) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, connStringOf(database))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, statement); err != nil {
		t.Fatal(err)
	}
}

// open is a Manager of the shop's databases.
func open(t *testing.T, changes ...func(*model.Config)) *pools.Manager {
	t.Helper()
	cfg := throwaway.Config()
	for _, change := range changes {
		change(&cfg)
	}
	return throwaway.OpenConfig(t, cfg, pools.WithNaming(shopDatabase))
}

func newPoolShop() *PoolShop {
	return &PoolShop{connString: connString, pools: map[string]*pgxpool.Pool{}}
}
func newSQLShop() *SQLShop { return &SQLShop{connString: connString, dbs: map[string]*sql.DB{}} }

// One process can have both, one after the other and side by side: what one writes the
// other reads, so that to go back is to run the old code.
func TestBeforeAndAfterServeTheSameTenants(t *testing.T) {
	ctx := context.Background()
	for name, makeBoth := range map[string]func(t *testing.T, tenant string) (before, after shop){
		"pgxpools": func(t *testing.T, _ string) (shop, shop) {
			after, err := OpenShop(ctx, throwaway.Config())
			if err != nil {
				t.Fatal(err)
			}
			return newPoolShop(), after
		},
		"sql": func(t *testing.T, _ string) (shop, shop) { return newSQLShop(), &SQLManagerShop{open(t)} },
		"gorm": func(t *testing.T, tenant string) (shop, shop) {
			before, err := OpenResolverShop(connStringOf(throwaway.Server.Database), connString, []string{tenant})
			if err != nil {
				t.Fatal(err)
			}
			after, err := OpenGORMShop(open(t))
			if err != nil {
				t.Fatal(err)
			}
			return before, after
		},
		"connection-manager": func(t *testing.T, _ string) (shop, shop) {
			return managedShop{newHandWritten(t)}, managedShop{Adapter{open(t)}}
		},
		"pgbouncer": func(t *testing.T, _ string) (shop, shop) {
			after, err := OpenShop(ctx, throwaway.Config())
			if err != nil {
				t.Fatal(err)
			}
			return BouncedShop(pgBouncer(t)), after
		},
	} {
		t.Run(name, func(t *testing.T) {
			tenant := tenant(t, "both-"+name)
			before, after := makeBoth(t, tenant)
			for i, s := range []shop{before, after, before, after} {
				if err := s.Order(ctx, tenant, fmt.Sprint("item ", i)); err != nil {
					t.Fatal(i, err)
				}
			}
			for _, s := range []shop{before, after} {
				items, err := s.Items(ctx, tenant)
				if want := []string{"item 0", "item 1", "item 2", "item 3"}; err != nil || !reflect.DeepEqual(items, want) {
					t.Errorf("%T: %q, %v", s, items, err)
				}
				if err := s.Close(ctx); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
