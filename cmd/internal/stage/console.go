package stage

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/sirupsen/logrus"
	logrusslog "github.com/sirupsen/logrus/hooks/slog"
	"golang.org/x/term"
)

// Console is standard error. One goroutine owns it, so that lines that are
// printed (warnings of the manager, say) and the one line that is rewritten in
// place do not tear each other up.
//
// Where standard error is not a terminal nothing is rewritten: what is shown for
// the moment does not appear at all, and what is logged does.
type Console struct {
	out      io.Writer
	terminal *os.File // nil: not a terminal
	messages chan output
	quit     chan struct{}
	ended    chan struct{}
}

type output struct {
	text string
	// inPlace: text is the new last line.
	inPlace bool
	// keep: the last line stays as it is, and what follows goes below.
	keep bool
}

// StartConsole writes to out until Stop.
func StartConsole(out io.Writer) *Console {
	file, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) || os.Getenv("TERM") == "dumb" {
		file = nil
	}
	return startConsole(out, file)
}

func startConsole(out io.Writer, terminal *os.File) *Console {
	c := &Console{
		out:      out,
		terminal: terminal,
		messages: make(chan output), // without room: a message taken is printed before the next
		quit:     make(chan struct{}),
		ended:    make(chan struct{}),
	}
	go c.run()
	return c
}

func (c *Console) run() {
	defer close(c.ended)
	line := "" // the one that is rewritten
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
func (c *Console) print(s string) { _, _ = io.WriteString(c.out, s) }

// clip cuts a line to what the terminal can show without wrapping it, because a
// wrapped line cannot be rewritten.
func (c *Console) clip(line string) string {
	width, _, err := term.GetSize(int(c.terminal.Fd()))
	if err != nil || width <= 0 {
		width = 80
	}
	if runes := []rune(line); len(runes) >= width {
		return string(runes[:width-1])
	}
	return line
}

// Stop waits until everything is printed. What comes later is dropped. It may be
// called again.
func (c *Console) Stop() {
	select {
	case c.quit <- struct{}{}:
	case <-c.ended:
	}
	<-c.ended
}

func (c *Console) send(m output) {
	select {
	case c.messages <- m:
	case <-c.ended:
	}
}

// Write prints whole lines.
func (c *Console) Write(p []byte) (int, error) {
	c.send(output{text: string(p)})
	return len(p), nil
}

// Printf prints a line.
func (c *Console) Printf(format string, args ...any) {
	c.send(output{text: fmt.Sprintf(format, args...) + "\n"})
}

// Rewrites tells whether the last line can be rewritten: out is a terminal.
func (c *Console) Rewrites() bool { return c.terminal != nil }

// Show replaces the last line of a terminal for the moment; an empty one removes it.
func (c *Console) Show(line string) {
	if c.Rewrites() {
		c.send(output{text: strings.TrimLeft(line, "\r"), inPlace: true})
	}
}

// Log is Show on a terminal, Printf elsewhere.
func (c *Console) Log(line string) {
	if c.Rewrites() {
		c.Show(line)
		return
	}
	c.Printf("%s", line)
}

// KeepLine leaves the last line where it is.
func (c *Console) KeepLine() { c.send(output{keep: true}) }

// Logger prints warnings and errors.
func (c *Console) Logger() *slog.Logger {
	log := logrus.New()
	log.SetOutput(c)
	log.SetLevel(logrus.WarnLevel)
	log.SetFormatter(&logrus.TextFormatter{DisableColors: true, DisableTimestamp: true})
	return slog.New(logrusslog.NewHandler(log, nil))
}
