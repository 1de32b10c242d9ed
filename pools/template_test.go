package pools

import (
	"fmt"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestNoChangeOfATemplateIsLost(t *testing.T) {
	const changers, each = 4, 200
	config, err := pgx.ParseConfig("host=h user=u")
	if err != nil {
		t.Fatal(err)
	}
	var shared template
	shared.Store(config)
	before := len(config.RuntimeParams)
	var wg sync.WaitGroup
	for i := range changers {
		wg.Go(func() {
			for j := range each {
				shared.change(func(c *pgx.ConnConfig) { c.RuntimeParams[fmt.Sprintf("%d of %d", j, i)] = "" })
			}
		})
	}
	wg.Wait()
	if n := len(shared.Load().RuntimeParams) - before; n != changers*each {
		t.Errorf("%d of %d changes are there", n, changers*each)
	}
	if len(config.RuntimeParams) != before {
		t.Error("what others may be reading was changed")
	}
}
