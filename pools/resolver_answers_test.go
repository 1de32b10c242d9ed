package pools_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

func TestAResolversAnswerIsGoodForTenSecondsAndIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		ask, forget, stop := pools.Resolve(func(ctx context.Context, id model.WorkspaceID) (string, error) {
			if id == "slow" {
				<-ctx.Done()
				return "", ctx.Err()
			}
			return fmt.Sprint(id, calls.Add(1)), nil
		})
		defer stop()
		want := func(id model.WorkspaceID, name string) {
			t.Helper()
			time.Sleep(time.Nanosecond) // or the clock stands still
			if is, err := ask(t.Context(), id); is != name || err != nil {
				t.Errorf("%q, %v; want %q", is, err, name)
			}
		}
		want("a", "a1")
		time.Sleep(9 * time.Second)
		want("a", "a1")
		want("b", "b2")
		time.Sleep(time.Second)
		want("a", "a3")
		forget("a")
		want("b", "b2")
		want("a", "a4")
		forget()
		want("b", "b5")
		began := time.Now()
		if _, err := ask(t.Context(), "slow"); err == nil || errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

// An answer that was on its way when the workspace was moved is not remembered.
func TestWhatAResolverSaidBeforeAMoveIsNotRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := make(chan string)
		ask, forget, stop := pools.Resolve(func(context.Context, model.WorkspaceID) (string, error) { return <-answers, nil })
		defer stop()
		first := make(chan string, 1)
		go func() { name, _ := ask(t.Context(), "a"); first <- name }()
		synctest.Wait()
		forget("a")
		answers <- "old"
		if name := <-first; name != "old" {
			t.Error(name)
		}
		time.Sleep(time.Nanosecond)
		go func() { answers <- "new" }()
		if name, _ := ask(t.Context(), "a"); name != "new" {
			t.Error(name)
		}
	})
}

// Those who have gone would else be asked about before those who wait.
func TestAResolverIsNotAskedForThoseWhoHaveGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		ask, _, stop := pools.Resolve(func(context.Context, model.WorkspaceID) (string, error) {
			calls.Add(1)
			time.Sleep(900 * time.Millisecond)
			return "there", nil
		})
		defer stop()
		const impatient = 200
		for i := range impatient {
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
				defer cancel()
				_, _ = ask(ctx, workspaceID(i))
			}()
		}
		time.Sleep(600 * time.Millisecond)
		began := time.Now()
		if name, err := ask(t.Context(), "patient"); name != "there" {
			t.Error(name, err)
		}
		if took := time.Since(began); took > 2*time.Second || calls.Load() > impatient/4 {
			t.Errorf("it took %v, and the resolver was asked %d times", took, calls.Load())
		}
	})
}
