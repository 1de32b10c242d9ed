package main

import (
	"io"
	"os"
	"strings"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// console is standard error. One goroutine owns it, so that lines that are
// printed (warnings of the manager, say) and the one line that is rewritten in
// place do not tear each other up.
//
// Where standard error is not a terminal nothing is rewritten: what is shown for
// the moment does not appear at all, and what is logged does.
type console struct {
	out      io.Writer
	terminal *os.File // nil: not a terminal
	messages chan message
	quit     chan struct{}
	ended    chan struct{}
}

type message struct {
	text string
	// inPlace: text is the new last line.
	inPlace bool
	// keep: the last line stays as it is, and what follows goes below.
	keep bool
}

func startConsole(out io.Writer) *console {
	c := newConsole(out, asTerminal(out))
	go c.run()
	return c
}

func newConsole(out io.Writer, terminal *os.File) *console {
	return &console{
		out:      out,
		terminal: terminal,
		messages: make(chan message), // without room: a message taken is printed before the next
		quit:     make(chan struct{}),
		ended:    make(chan struct{}),
	}
}

func asTerminal(out io.Writer) *os.File {
	file, ok := out.(*os.File)
	if ok && term.IsTerminal(int(file.Fd())) && os.Getenv("TERM") != "dumb" {
		return file
	}
	return nil
}

func (c *console) run() {
	defer close(c.ended)
	line := ""
	for {
		select {
		case <-c.quit:
			if line != "" {
				c.print("\n")
			}
			return
		case m := <-c.messages:
			switch {
			case m.keep:
				if line != "" {
					c.print("\n")
				}
				line = ""
			case m.inPlace:
				line = c.clip(m.text)
				c.print("\r" + line + eraseRest)
			case line != "":
				c.print("\r" + eraseRest + m.text + line)
			default:
				c.print(m.text)
			}
		}
	}
}

// eraseRest erases from the cursor to the end of the line.
const eraseRest = "\x1b[K"

// print: there is nobody to tell that standard error is gone.
func (c *console) print(s string) { _, _ = io.WriteString(c.out, s) }

// clip cuts a line to what the terminal can show without wrapping it, because a
// wrapped line cannot be rewritten.
func (c *console) clip(line string) string {
	width, _, err := term.GetSize(int(c.terminal.Fd()))
	if err != nil || width <= 0 {
		width = 80
	}
	if runes := []rune(line); len(runes) >= width {
		return string(runes[:width-1])
	}
	return line
}

// stop waits until everything is printed. What comes later is dropped. It may be
// called again.
func (c *console) stop() {
	select {
	case c.quit <- struct{}{}:
	case <-c.ended:
	}
	<-c.ended
}

func (c *console) send(m message) {
	select {
	case c.messages <- m:
	case <-c.ended:
	}
}

// Write prints whole lines.
func (c *console) Write(p []byte) (int, error) {
	c.send(message{text: string(p)})
	return len(p), nil
}

// println prints a line.
func (c *console) println(line string) { c.send(message{text: line + "\n"}) }

// show replaces the last line of a terminal.
func (c *console) show(line string) {
	if c.terminal != nil {
		c.send(message{text: strings.TrimLeft(line, "\r"), inPlace: true})
	}
}

// log is show on a terminal, println elsewhere.
func (c *console) log(line string) {
	if c.terminal != nil {
		c.show(line)
		return
	}
	c.println(line)
}

// keepLine leaves the last line where it is.
func (c *console) keepLine() { c.send(message{keep: true}) }

// progress counts up to n until the channel is closed, on a terminal only.
func (c *console) progress(what string, n int, done <-chan struct{}) {
	bar := progressbar.NewOptions(n,
		progressbar.OptionSetWriter(io.Discard), // the console shows it
		progressbar.OptionSetDescription(what),
		progressbar.OptionSetWidth(36),
		progressbar.OptionShowCount(),
	)
	for range done {
		_ = bar.Add(1)
		c.show(bar.String())
	}
	c.show("")
}
