package pooltest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// scenarioVariable has the test program run a scenario before its tests.
const scenarioVariable = "POOLTEST_SCENARIO"

// scenarios are ways in which a program may end whose tests have a server. Each says
// where the server's data lies.
var scenarios = map[string]func(){
	"exit":  func() { sayWhere(); os.Exit(3) },
	"panic": func() { sayWhere(); panic("on purpose") },
	"a panic elsewhere": func() {
		sayWhere()
		go panic("on purpose")
		select {}
	},
}

func sayWhere() {
	w := &witness{name: "TestScenario"}
	shop := server.Workspace(w)
	if err := shop.Ping(context.Background()); err != nil {
		panic(err)
	}
	fmt.Println("DATA", server.DataFolder())
}

// Whatever becomes of the tests' program, the server goes, and its data.
func TestNothingIsLeftBehind(t *testing.T) {
	for scenario := range scenarios {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
			child.Env = append(os.Environ(), scenarioVariable+"="+scenario)
			out, err := child.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			folder := ""
			for lines := bufio.NewScanner(out); lines.Scan(); {
				if after, found := strings.CutPrefix(lines.Text(), "DATA "); found {
					folder = after
				}
			}
			var ended *exec.ExitError
			if err := child.Wait(); !errors.As(err, &ended) || folder == "" {
				t.Fatalf("the program ended with %v; its data lay in %q", err, folder)
			}
			eventually(t, "the data is gone", func() bool {
				_, err := os.Stat(folder)
				return errors.Is(err, os.ErrNotExist)
			})
		})
	}
}
