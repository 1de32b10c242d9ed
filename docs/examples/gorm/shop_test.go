package gorm_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	gormio "gorm.io/gorm"

	"github.com/tenantpool/tenantpool/docs/examples/gorm"
	"github.com/tenantpool/tenantpool/docs/examples/internal/throwaway"
	"github.com/tenantpool/tenantpool/model"
)

func TestMain(m *testing.M) { throwaway.Main(m) }

func TestShop(t *testing.T) {
	cfg := throwaway.Config()
	cfg.MaxConnectionsPerDB = 1
	manager := throwaway.OpenConfig(t, cfg)
	shop, err := gorm.New(manager)
	if err != nil {
		t.Fatal(err)
	}
	db := shop.In(context.Background(), throwaway.Workspace(t, manager))
	for range 2 { // the second one finds the tables
		if err := db.AutoMigrate(&gorm.Order{}, &gorm.Line{}); err != nil {
			t.Fatal(err)
		}
	}
	changedMind := errors.New("changed my mind")
	for _, end := range []error{changedMind, nil} {
		err := db.Transaction(func(tx *gormio.DB) error {
			if err := tx.Create(&gorm.Order{Item: "tea", Lines: []gorm.Line{{Quantity: 2}, {Quantity: 3}}}).Error; err != nil {
				return err
			}
			return end
		})
		if !errors.Is(err, end) {
			t.Fatal(err)
		}
	}
	var order gorm.Order
	if err := db.Preload("Lines").Where("item = ?", "tea").Take(&order).Error; err != nil || len(order.Lines) != 2 {
		t.Errorf("%v, %v", order, err)
	}
	if err := db.Create(&gorm.Order{Item: "tea"}).Error; !errors.Is(err, gormio.ErrDuplicatedKey) {
		t.Error(err)
	}
	throwaway.NothingLent(t, manager)
}

// One Shop serves requests of many workspaces at once, each in its own database.
func TestShopServesEachWorkspaceItsOwn(t *testing.T) {
	manager := throwaway.Open(t)
	ctx := context.Background()
	shop, err := gorm.New(manager)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 8 {
		id := model.WorkspaceID(fmt.Sprint("own-", i))
		all.Go(func() {
			if err := manager.CreateWorkspace(ctx, id); err != nil {
				t.Error(err)
			}
			if err := shop.In(ctx, manager.Workspace(id)).AutoMigrate(&gorm.Order{}); err != nil {
				t.Error(err)
			}
			for n := range 10 {
				if err := shop.In(ctx, manager.Workspace(id)).Create(&gorm.Order{Item: fmt.Sprint(id, " ", n)}).Error; err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	for i := range 8 {
		w := manager.Workspace(model.WorkspaceID(fmt.Sprint("own-", i)))
		var own int64
		if err := shop.In(ctx, w).Model(&gorm.Order{}).Where("item LIKE ?", string(w.ID())+" %").Count(&own).Error; err != nil || own != 10 {
			t.Errorf("%s has %d orders of its own, and not 10 (%v)", w.ID(), own, err)
		}
	}
	throwaway.NothingLent(t, manager)
}

func TestSingle(t *testing.T) {
	manager := throwaway.Open(t)
	db, err := gorm.Single(throwaway.Workspace(t, manager))
	if err != nil {
		t.Fatal(err)
	}
	var database string
	if err := db.Raw("SELECT current_database()").Scan(&database).Error; err != nil || database != "tenantpool_ws_TestSingle" {
		t.Error(database, err)
	}
	throwaway.NothingLent(t, manager)
}
