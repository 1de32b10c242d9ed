package stage

import (
	"bytes"
	"os"
	"strings"
	"sync"
	"testing"
)

func TestConsoleWithoutATerminal(t *testing.T) {
	var out bytes.Buffer
	c := StartConsole(&out)
	c.Printf("one")
	c.Show("for the moment")
	c.Log("a row")
	_, _ = c.Write([]byte("a warning\n"))
	c.KeepLine()
	c.Stop()
	c.Stop()
	c.Printf("too late")
	if got := out.String(); got != "one\na row\na warning\n" {
		t.Errorf("%q", got)
	}
}

func TestConsoleRewritesTheLastLine(t *testing.T) {
	var out bytes.Buffer
	read, write, err := os.Pipe() // it has no width: 80 is assumed
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	c := startConsole(&out, write)
	c.Printf("one")
	c.Show("\r10 %")
	c.Log("20 %")
	_, _ = c.Write([]byte("a warning\n"))
	c.Show(strings.Repeat("ä", 200))
	c.KeepLine()
	c.Printf("below")
	c.Show("last")
	c.Stop()
	want := "one\n" +
		"\r10 %\x1b[K" +
		"\r20 %\x1b[K" +
		"\r\x1b[Ka warning\n20 %" +
		"\r" + strings.Repeat("ä", 79) + "\x1b[K" +
		"\nbelow\n" +
		"\rlast\x1b[K\n"
	if got := out.String(); got != want {
		t.Errorf("%q\nwant\n%q", got, want)
	}
}

func TestConsoleKeepsLinesOfManyWhole(t *testing.T) {
	var out bytes.Buffer
	c := StartConsole(&out)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for range 50 {
				c.Printf("a line of somebody")
			}
		})
	}
	all.Wait()
	c.Stop()
	if got := out.String(); got != strings.Repeat("a line of somebody\n", 1000) {
		t.Error("lines are torn or lost")
	}
}
