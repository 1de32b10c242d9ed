package door

import (
	"testing"
	"testing/synctest"
)

// The connection is not given back before the last request for it has ended.
func TestAGateClosesWhenNobodyIsInIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gate
		g.init()
		for range 3 {
			g.open(nil)
			g.state.Add(1) // as cancel does
			g.state.Add(1)
			closed := make(chan struct{})
			go func() {
				g.close()
				close(closed)
			}()
			synctest.Wait()
			select {
			case <-closed:
				t.Fatal("it closed while two were in it")
			default:
			}
			g.state.Add(1) // who comes now is turned away
			g.leave()
			g.leave()
			synctest.Wait()
			select {
			case <-closed:
				t.Fatal("it closed while one was in it")
			default:
			}
			g.leave()
			<-closed
		}
	})
}
