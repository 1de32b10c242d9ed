package main

import (
	"bytes"
	"os"
	"strings"
	"sync"
	"testing"
)

func TestConsoleWithoutATerminal(t *testing.T) {
	var out bytes.Buffer
	c := startConsole(&out)
	c.println("one")
	c.show("for the moment")
	c.log("a row")
	_, _ = c.Write([]byte("a warning\n"))
	c.keepLine()
	c.stop()
	c.stop()
	c.println("too late")
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
	c := newConsole(&out, write)
	go c.run()
	c.println("one")
	c.show("\r10 %")
	c.log("20 %")
	_, _ = c.Write([]byte("a warning\n"))
	c.show(strings.Repeat("ä", 200))
	c.keepLine()
	c.println("below")
	c.show("last")
	c.stop()
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
	c := startConsole(&out)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for range 50 {
				c.println("a line of somebody")
			}
		})
	}
	all.Wait()
	c.stop()
	if got := out.String(); got != strings.Repeat("a line of somebody\n", 1000) {
		t.Error("lines are torn or lost")
	}
}
