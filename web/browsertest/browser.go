// Package browsertest opens pages in a real Chromium, for tests.
//
// A test without one is skipped, and says so. Where it is: CHROME_BIN, or else
// the first of the usual names in PATH.
package browsertest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience is how long a page may take for one thing that a test waits for. The
// machine may be busy with other tests.
const patience = 2 * time.Minute

// Browser is one running Chromium. It ends with its test.
type Browser struct {
	ctx context.Context
}

// Start starts Chromium, or skips the test.
func Start(t testing.TB) *Browser {
	t.Helper()
	binary := find()
	if binary == "" {
		t.Skip("Chromium is not installed: apt-get install chromium, or the like; or name its program in CHROME_BIN")
	}
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(binary),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.Headless, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		chromedp.WSURLReadTimeout(patience))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // it refuses root otherwise
	}
	allocator, endAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(endAllocator) // waits until the process is gone
	ctx, end := chromedp.NewContext(allocator)
	t.Cleanup(end)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", binary, err)
	}
	return &Browser{ctx}
}

func find() string {
	if binary := os.Getenv("CHROME_BIN"); binary != "" {
		return binary
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if binary, err := exec.LookPath(name); err == nil {
			return binary
		}
	}
	return ""
}

// Look is how a page is shown.
type Look struct {
	Width, Height int64 // 0: 1280 and 900
	Dark          bool  // what the system prefers
}

// Page is one tab, with a storage of its own.
type Page struct {
	t        testing.TB
	ctx      context.Context
	problems chan string
}

// Open opens a tab at the address.
func (b *Browser) Open(t testing.TB, address string, look Look) *Page {
	t.Helper()
	p := &Page{t: t, problems: make(chan string, 100)}
	var end context.CancelFunc
	p.ctx, end = chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext(),
		chromedp.WithListener(func(event any) { p.watch(event, address) }))
	t.Cleanup(end)
	if err := chromedp.Do(p.ctx); err != nil { // the tab lives as long as this context
		t.Fatalf("open a tab: %v", err)
	}
	command(p, network.Enable, network.EnableParams{})
	command(p, log.Enable, cdp.Empty{})
	p.Look(look)
	p.do(chromedp.Navigate(address))
	return p
}

// watch notes what must not happen on a page: errors, anything that the
// Content-Security-Policy forbids, requests to other hosts.
func (p *Page) watch(event any, address string) {
	problem := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		problem = "exception: " + e.ExceptionDetails.Text
		if thrown := e.ExceptionDetails.Exception; thrown != nil {
			problem += " " + thrown.Description
		}
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
			for _, arg := range e.Args {
				problem += fmt.Sprintf("console: %s %s ", arg.Value, arg.Description)
			}
		}
	case *log.EventEntryAdded:
		// Answers like 401 are logged by the network; a test that asks for one
		// knows it.
		if e.Entry.Source != log.EntrySourceNetwork {
			problem = fmt.Sprintf("%s: %s", e.Entry.Source, e.Entry.Text)
		}
	case *network.EventRequestWillBeSent:
		if url := e.Request.URL; !strings.HasPrefix(url, origin(address)) && !strings.HasPrefix(url, "data:") && !strings.HasPrefix(url, "blob:"+origin(address)) {
			problem = "request to another host: " + url
		}
	}
	if problem != "" {
		select {
		case p.problems <- problem:
		default: // a hundred are enough
		}
	}
}

func origin(address string) string {
	scheme, rest, _ := strings.Cut(address, "://")
	host, _, _ := strings.Cut(rest, "/")
	return scheme + "://" + host + "/"
}

// NoProblems fails the test if there was an error, a violation of the
// Content-Security-Policy or a request to another host.
func (p *Page) NoProblems() {
	p.t.Helper()
	for {
		select {
		case problem := <-p.problems:
			p.t.Errorf("on the page: %s", problem)
		default:
			return
		}
	}
}

// Look changes how the page is shown.
func (p *Page) Look(look Look) {
	p.t.Helper()
	if look.Width == 0 {
		look.Width, look.Height = 1280, 900
	}
	scheme := "light"
	if look.Dark {
		scheme = "dark"
	}
	command(p, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: look.Width, Height: look.Height, DeviceScaleFactor: 1,
	})
	command(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
}

// DownloadTo is where the page's downloads go.
func (p *Page) DownloadTo(folder string) {
	p.t.Helper()
	command(p, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{
		Behavior: browser.SetDownloadBehaviorBehaviorAllow, DownloadPath: folder,
		BrowserContextID: chromedp.FromContext(p.ctx).BrowserContextID,
	})
}

// Reload loads the page again.
func (p *Page) Reload() {
	p.t.Helper()
	p.do(chromedp.Reload())
}

// Type types into the element.
func (p *Page) Type(selector, text string) {
	p.t.Helper()
	p.do(chromedp.SendKeys(chromedp.CSS(selector), text))
}

// Paste puts the text where the focus is, all at once.
func (p *Page) Paste(text string) {
	p.t.Helper()
	command(p, input.InsertText, input.InsertTextParams{Text: text})
}

// Press sends keys to what has the focus; see package kb for those without a
// character.
func (p *Page) Press(keys string) {
	p.t.Helper()
	p.do(chromedp.KeyEvent(keys))
}

// Click clicks the element once it can be seen. Where the page moved it between the
// measure and the click, the click met something else: it is done again until it
// arrives.
func (p *Page) Click(selector string) {
	p.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		Value[bool](p, fmt.Sprintf(`(() => {
			window.arrived = false;
			document.addEventListener('click', (event) => { window.arrived ||= event.target.closest(%q) !== null; }, { capture: true, once: true });
			return true;
		})()`, selector))
		p.do(chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
		// A click that left the page took the variable with it.
		if missed, _ := chromedp.Run(p.ctx, chromedp.Evaluate[bool]("window.arrived === false")); !missed {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("no click arrives at %s", selector)
		}
	}
}

// Text is what can be read in the element.
func (p *Page) Text(selector string) string {
	p.t.Helper()
	return Value[string](p, fmt.Sprintf("document.querySelector(%q)?.innerText ?? '(there is no ' + %q + ')'", selector, selector))
}

// Count is how many elements there are.
func (p *Page) Count(selector string) int {
	p.t.Helper()
	return Value[int](p, fmt.Sprintf("document.querySelectorAll(%q).length", selector))
}

// Await waits until the JavaScript expression is true, also over a reload.
func (p *Page) Await(what, expression string) {
	p.t.Helper()
	ctx, stop := context.WithTimeout(p.ctx, patience)
	defer stop()
	for {
		is, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
		if is {
			return
		}
		select {
		case <-ctx.Done():
			p.t.Fatalf("not in time: %s (%s): %v\nthe page says:\n%s", what, expression, err, p.Text("body"))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// AwaitText waits until the text can be read in the element. Spaces and line
// breaks are the same.
func (p *Page) AwaitText(selector, text string) {
	p.t.Helper()
	p.Await(fmt.Sprintf("%q in %s", text, selector),
		fmt.Sprintf(`(document.querySelector(%q)?.innerText ?? '').replace(/\s+/g, ' ').includes(%q)`, selector, text))
}

// Value evaluates a JavaScript expression; a promise is waited for.
func Value[T any](p *Page, expression string) T {
	p.t.Helper()
	return run(p, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// Screenshot is what can be seen of the page, as a PNG.
func (p *Page) Screenshot() []byte {
	p.t.Helper()
	return run(p, chromedp.CaptureScreenshot())
}

func (p *Page) do(action chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	run(p, action)
}

func run[T any](p *Page, action chromedp.Action[T]) T {
	p.t.Helper()
	ctx, stop := context.WithTimeout(p.ctx, patience)
	defer stop()
	value, err := chromedp.Run(ctx, action)
	if err != nil {
		p.t.Fatalf("browser: %v", err)
	}
	return value
}

func command[P, R any](p *Page, c cdp.Command[P, R], params P) {
	p.t.Helper()
	ctx, stop := context.WithTimeout(p.ctx, patience)
	defer stop()
	if _, err := chromedp.Call(ctx, c, params); err != nil {
		p.t.Fatalf("browser: %v", err)
	}
}
