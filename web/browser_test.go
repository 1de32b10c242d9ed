package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"
	"github.com/labstack/echo/v4"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/web/browsertest"
)

// TestTheDashboard runs in a real browser, on a fake pool. The parts share the
// browser, each has a tab, a storage, a server and a pool of its own.
func TestTheDashboard(t *testing.T) {
	browser := browsertest.Start(t)
	for name, test := range map[string]func(*testing.T, *dashboardRig){
		"shows live figures":                                      showsLiveFigures,
		"returns to the form when the token is refused":           returnsToTheForm,
		"forgets the token when one signs out":                    forgetsTheToken,
		"sorts and filters, by mouse and keyboard":                sortsAndFilters,
		"stays fast with 5,000 workspaces":                        staysFast,
		"has pages and searches of 11,000 workspaces":             hasPages,
		"gives a viewer no controls":                              givesAViewerNoControls,
		"lets an operator steer, after asking":                    letsAnOperatorSteer,
		"changes the settings of one workspace":                   changesSettings,
		"lists all workspaces in pages":                           listsAllWorkspaces,
		"downloads a dump":                                        downloadsADump,
		"drains only after the word was typed":                    drainsAfterTheWord,
		"says in banners what is wrong":                           saysWhatIsWrong,
		"follows the events, and again after they broke off":      followsTheEvents,
		"fits 400 pixels, in light and dark":                      fitsNarrowScreens,
		"tells long ids apart":                                    tellsLongIDsApart,
		"works under a prefix":                                    worksUnderAPrefix,
		"takes what the server says for text, never for markup":   takesTextForText,
		"shows what happened in the last five minutes, in charts": showsCharts,
		"shows who has what of a shared budget":                   showsTheSharedBudget,
		"says loudly when a shared budget is not kept":            saysWhatIsWrongWithTheGroup,
		"keeps fifty replicas readable":                           keepsFiftyReplicasReadable,
		"asks for no group where there is none":                   asksForNoGroup,
		"shows PostgreSQL's clients at the door":                  showsTheDoor,
		"shows which budget the traffic needs":                    showsTheCapacity,
		"says why it does not show which budget is needed":        saysWhyThereIsNoCapacity,
		"hides the capacity of an old server":                     hidesTheCapacityOfAnOldServer,
	} {
		t.Run(name, func(t *testing.T) {
			rig := newDashboardRig(t, browser)
			test(t, rig)
			if rig.page != nil {
				rig.page.NoProblems()
			}
		})
	}
}

// dashboardRig is a server and a tab.
type dashboardRig struct {
	*handlersRig
	key     PrivateKey // whose tokens the server takes, too
	browser *browsertest.Browser
	page    *browsertest.Page
	stop    func() // the server, as if it had crashed
	doors   atomic.Pointer[model.DoorStats]
}

// door is empty until a test says otherwise.
func (rig *dashboardRig) door() (st model.DoorStats) {
	if set := rig.doors.Load(); set != nil {
		st = *set
	}
	return st
}

func newDashboardRig(t *testing.T, browser *browsertest.Browser) *dashboardRig {
	rig := &dashboardRig{key: NewPrivateKey(), browser: browser}
	rig.handlersRig = newHandlersRig(t, func(o *Options) {
		o.Keys = append(o.Keys, rig.key.Public())
		if strings.Contains(t.Name(), "door") { // its panel moves what the others click
			o.Door = rig.door
		}
	})
	on := httptest.NewServer(rig.server.alone())
	rig.url = on.URL
	rig.stop = sync.OnceFunc(func() {
		rig.server.Close()
		on.CloseClientConnections()
		on.Close()
	})
	t.Cleanup(rig.stop)
	return rig
}

// open opens the page and signs in, unless the token is empty.
func (rig *dashboardRig) open(token string, look browsertest.Look) *browsertest.Page {
	rig.t.Helper()
	rig.page = rig.browser.Open(rig.t, rig.url+"/", look)
	if token != "" {
		rig.signIn(token)
		rig.page.AwaitText("#pulse", "Live")
	}
	return rig.page
}

func (rig *dashboardRig) signIn(token string) {
	rig.t.Helper()
	rig.page.Await("the form", "document.activeElement?.id === 'token'")
	rig.page.Paste(token)
	rig.page.Press(kb.Enter)
}

// change changes the pool's state.
func (rig *dashboardRig) change(f func(*model.Stats)) {
	rig.pool.mu.Lock()
	defer rig.pool.mu.Unlock()
	f(&rig.pool.state)
}

// screenshot is kept for people to look at, if they want one.
func (rig *dashboardRig) screenshot(name string) {
	rig.t.Helper()
	folder := os.Getenv("TENANTPOOL_SCREENSHOTS")
	if folder == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(folder, name+".png"), rig.page.Screenshot(), 0o644); err != nil {
		rig.t.Fatal(err)
	}
}

func showsLiveFigures(t *testing.T, rig *dashboardRig) {
	page := rig.open(rig.tokens[Viewer], browsertest.Look{})
	page.AwaitText("#budget-open", "25")
	page.AwaitText("#budget-of", "of 100 connections open")
	for _, legend := range []string{"In use 10", "Idle 15", "Dialing 0", "Closing 0", "Free 75"} {
		page.AwaitText("#budget-legend", legend)
	}
	if n := page.Count("#workspace-rows tr"); n != 8 {
		t.Errorf("%d workspaces", n)
	}
	page.AwaitText("#who", "the viewer · viewer")
	page.AwaitText("#waiters", "nobody")

	rig.change(func(st *model.Stats) {
		st.Workspaces.InUse, st.Workspaces.Dialing, st.Workspaces.Closing = 40, 3, 2
		st.Workspaces.Waiting, st.Workspaces.LongestWait = 17, 1500*time.Millisecond
		st.Workspaces.Active[2].InUse = 3
	})
	page.AwaitText("#budget-open", "62") // 40 + 3 + 2 + 12 idle + the system's 5
	for _, legend := range []string{"In use 42", "Idle 15", "Dialing 3", "Closing 2", "Free 38"} {
		page.AwaitText("#budget-legend", legend)
	}
	page.AwaitText("#waiters", "17")
	page.AwaitText("#waiters", "longest 1.5 s")
	page.AwaitText(`[data-workspace="ws_003"] .cell-inUse`, "3")
	if label := browsertest.Value[string](page, "document.getElementById('budget-bar').ariaLabel"); label != "Of 100 connections: 42 in use, 15 idle, 3 dialing, 2 closing, 38 free" {
		t.Errorf("the bar says %q", label)
	}
	if address := browsertest.Value[string](page, "location.href"); address != rig.url+"/" {
		t.Errorf("the address became %s", address)
	}
}

func returnsToTheForm(t *testing.T, rig *dashboardRig) {
	page := rig.open("", browsertest.Look{})
	refused := func(token, reason string) {
		t.Helper()
		rig.signIn(token)
		page.AwaitText("#token-message", reason)
		if browsertest.Value[bool](page, "!document.querySelector('#page').hidden") || browsertest.Value[int](page, "sessionStorage.length") != 0 {
			t.Errorf("after %q the page is open, or the token kept", reason)
		}
	}
	refused("hello", "not a token of this server")
	stranger, err := Issue(NewPrivateKey(), Claims{Subject: "x", Role: Operator, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	refused(stranger, "did not take this token. the token is not valid")
	refused(rig.tokens[Service], "role (service) may not see the dashboard")

	short, err := Issue(rig.key, Claims{Subject: "x", Role: Viewer, TTL: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	rig.signIn("Authorization: Bearer " + short) // as it was copied from somewhere
	page.AwaitText("#pulse", "Live")
	page.AwaitText("#token-message", "has expired")
}

func forgetsTheToken(t *testing.T, rig *dashboardRig) {
	page := rig.open(rig.tokens[Viewer], browsertest.Look{})
	page.Reload()
	page.AwaitText("#pulse", "Live") // the tab keeps it
	page.Click("#sign-out")
	page.Await("the form", "document.activeElement?.id === 'token' && !document.querySelector('#token').value")
	if n := browsertest.Value[int](page, "sessionStorage.length + localStorage.length + document.cookie.length"); n != 0 {
		t.Error("something is kept")
	}
	page.Reload()
	page.Await("the form after a reload", "document.activeElement?.id === 'token'")
	soon(t, "the stream of events ends", func() bool { return rig.pool.watching() == 0 })
}

func sortsAndFilters(t *testing.T, rig *dashboardRig) {
	rig.change(func(st *model.Stats) {
		for i := range st.Workspaces.Active {
			st.Workspaces.Active[i].Dials = uint64(10 + (i*3)%8)
		}
		st.Workspaces.Active[0].ID = "ws_10" // after ws_9, however it is written
		st.Workspaces.Active[1].ID = "ws_9"
	})
	page := rig.open(rig.tokens[Viewer], browsertest.Look{})
	ids := func() string {
		t.Helper()
		return browsertest.Value[string](page, "[...document.querySelectorAll('#workspace-rows tr')].map((row) => row.dataset.workspace).join(' ')")
	}
	order := func(how, want string) {
		t.Helper()
		if have := ids(); have != want {
			t.Errorf("%s: %s, want %s", how, have, want)
		}
	}
	order("by id", "ws_003 ws_004 ws_005 ws_006 ws_007 ws_008 ws_9 ws_10")
	page.Click(`th[data-column="dials"] button`)
	// 10+(3i mod 8): ws_10 10, ws_9 13, 003 16, 004 11, 005 14, 006 17, 007 12, 008 15
	order("by dials", "ws_006 ws_003 ws_008 ws_005 ws_9 ws_007 ws_004 ws_10")
	page.Press(kb.Enter) // the button has the focus
	order("by dials, upwards", "ws_10 ws_004 ws_007 ws_9 ws_005 ws_008 ws_003 ws_006")
	if sorted := browsertest.Value[string](page, "[...document.querySelectorAll('#workspace-head th')].map((th) => th.ariaSort).join(' ')"); sorted != "none none none none none none ascending none none" {
		t.Errorf("aria-sort says %s", sorted)
	}
	page.Type("#filter", "00")
	order("filtered", "ws_004 ws_007 ws_005 ws_008 ws_003 ws_006")
	page.AwaitText("#workspaces-count", "6 of 8")
	page.Type("#filter", "x")
	page.AwaitText("#workspaces-empty", "No active workspace has “00x” in its id")
	if ids() != "" {
		t.Errorf("found %s", ids())
	}
}

func staysFast(t *testing.T, rig *dashboardRig) {
	thereAre := func(n int) {
		rig.change(func(st *model.Stats) {
			st.Workspaces.Active = nil
			for i := range n {
				st.Workspaces.Active = append(st.Workspaces.Active, model.WorkspaceStats{
					ID: model.WorkspaceID(fmt.Sprintf("ws_%04d", i)), Dials: uint64(i), LastUsed: time.Duration(i) * time.Second,
					Counts: model.Counts{InUse: i % 3, Idle: i % 2},
				})
			}
		})
	}
	thereAre(500)
	page := rig.open(rig.tokens[Operator], browsertest.Look{})
	page.AwaitText("#workspaces-count", "500 active")
	sorting := func() float64 {
		return browsertest.Value[float64](page, `(() => {
			const began = performance.now();
			for (const column of ['dials', 'inUse', 'lastUsed', 'id']) {
				document.querySelector('th[data-column="' + column + '"] button').click();
				document.body.getBoundingClientRect();
			}
			return (performance.now() - began) / 4;
		})()`)
	}
	few := sorting()
	thereAre(5000)
	page.AwaitText("#workspaces-count", "5,000 active")
	page.AwaitText("#workspaces-more", "and 4,800 more")
	if n := page.Count("#workspace-rows tr"); n != 200 {
		t.Errorf("%d rows are drawn", n)
	}
	many := sorting()
	t.Logf("sorting and drawing 500 workspaces: %.0f ms, 5,000: %.0f ms", few, many)
	// Both draw 200 rows. Ten times as many are sorted in 14 times the time, drawn or
	// compared each with each in a hundred times.
	if many > 2000 && many > 20*few {
		t.Errorf("sorting 500 workspaces takes %.0f ms, 5,000 take %.0f", few, many)
	}
	page.Click("#workspaces-show")
	page.AwaitText("#workspaces-more", "and 4,600 more")
	page.Type("#filter", "4999")
	page.AwaitText("#workspaces-count", "1 of 5,000")
	page.AwaitText(`[data-workspace="ws_4999"] .cell-lastUsed`, "1 h 23 min")
	rig.screenshot("filtered")
}

// Ten thousand active ones and a thousand paused ones: the server sorts and searches.
func listsAllWorkspaces(t *testing.T, rig *dashboardRig) {
	rig.pool.mu.Lock()
	for i := range 240 {
		rig.pool.workspaces = append(rig.pool.workspaces, model.WorkspaceID(fmt.Sprintf("zoo-%03d", i)))
	}
	rig.pool.mu.Unlock()
	page := rig.open(rig.tokens[Operator], browsertest.Look{})
	listed := func(n int, last string) {
		t.Helper()
		page.Await(fmt.Sprintf("%d are listed", n), fmt.Sprintf(
			"document.querySelectorAll('#directory-list li').length === %d && document.querySelector('#directory-list li:last-child').innerText === %q", n, last))
	}
	page.Click("#directory")
	page.Await("the first page", "document.querySelectorAll('#directory-list li').length === 100")
	rig.screenshot("directory")
	page.Type("#directory-prefix", "zoo-")
	listed(100, "zoo-099")
	page.Click("#directory-more")
	listed(200, "zoo-199")
	page.Click("#directory-more")
	listed(240, "zoo-239")
	page.Await("there are no more", "document.querySelector('#directory-more').hidden")
	page.Type("#directory-prefix", "11")
	listed(10, "zoo-119")
	page.Click("#directory-list li:nth-child(3) button")
	page.Await("the table is filtered", "!document.querySelector('dialog').open && document.querySelector('#filter').value === 'zoo-112'")
	page.AwaitText("#workspaces-empty", "Pause zoo-112") // it has no connection
	page.Click("#directory")
	page.Type("#directory-prefix", "nobody")
	page.AwaitText("#directory-state", "No workspace’s id begins so.")
	page.Press(kb.Escape) // empties the search
	page.Await("all are listed", "document.querySelectorAll('#directory-list li').length === 100")
	page.Press(kb.Escape)
	page.Await("the dialog is gone", "!document.querySelector('dialog').open")
}

func hasPages(t *testing.T, rig *dashboardRig) {
	rig.change(func(st *model.Stats) { st.Workspaces = manyWorkspaces(10_000, 1000).Workspaces })
	began := time.Now()
	page := rig.open(rig.tokens[Viewer], browsertest.Look{})
	page.AwaitText("#workspaces-count", "11,000 active")
	page.AwaitText("#workspaces-more", "1 to 200, and 10,800 more")
	t.Logf("drawn after %v", time.Since(began).Round(time.Millisecond))
	rig.screenshot("pages")
	first := func(want string) {
		t.Helper()
		page.Await("the first row is "+want, "document.querySelector('#workspace-rows tr')?.dataset.workspace === '"+want+"'")
	}
	first("customer_0")
	page.Click("#workspaces-next")
	first("customer_1000")
	page.AwaitText("#workspaces-more", "1,001 to 1,200, and 9,800 more")
	page.Click("#workspaces-previous")
	first("customer_0")
	// The paused ones are far behind, and come first now.
	page.Click(`th[data-column="paused"] button`)
	first("customer_10000")
	page.AwaitText(`[data-workspace="customer_10000"] .cell-paused`, "Paused")
	page.Type("#filter", "Customer_1077")
	page.AwaitText("#workspaces-count", "11 of 11,000")
	first("customer_10770")
	if n := page.Count("#workspace-rows tr"); n != 11 {
		t.Errorf("%d rows", n)
	}
	rig.screenshot("searched")
	page.Type("#filter", "x")
	page.AwaitText("#workspaces-empty", "No active workspace has")
	if !browsertest.Value[bool](page, "document.getElementById('workspaces-more').hidden") {
		t.Error("more is offered of nothing")
	}
}

func givesAViewerNoControls(t *testing.T, rig *dashboardRig) {
	page := rig.open(rig.tokens[Viewer], browsertest.Look{})
	if n := page.Count("#operator-tools *, td.actions, th.actions, .danger"); n != 0 {
		t.Errorf("%d controls", n)
	}
	for _, call := range []string{"evictWorkspace", "renewWorkspace", "renewAll", "pauseWorkspace", "resumeWorkspace", "setLimits", "dump", "drain"} {
		status := browsertest.Value[int](page, fmt.Sprintf(`fetch('api/admin.%s', {method: 'POST', body: '{}', headers: {
			'Content-Type': 'application/json', Authorization: 'Bearer ' + sessionStorage.getItem('tenantpool.token')}}).then((answer) => answer.status)`, call))
		if status != 403 {
			t.Errorf("%s gives a viewer %d", call, status)
		}
	}
	if calls := rig.pool.done(); len(calls) != 0 {
		t.Errorf("the pool was told to %v", calls)
	}
}

func letsAnOperatorSteer(t *testing.T, rig *dashboardRig) {
	page := rig.open(rig.tokens[Operator], browsertest.Look{})
	told := func(want ...string) {
		t.Helper()
		soon(t, fmt.Sprint(want), func() bool { return fmt.Sprint(rig.pool.done()) == fmt.Sprint(want) })
	}
	dismiss := func() { // the messages may cover a button
		browsertest.Value[any](page, "void document.querySelectorAll('#toasts button').forEach((button) => button.click())")
	}
	const evict = `[data-workspace="ws_004"] button[aria-label="Evict ws_004"]`
	page.Click(evict)
	page.AwaitText("dialog", "Evict ws_004?")
	rig.screenshot("dialog")
	page.Press(kb.Escape)
	page.Await("the dialog is gone, the focus is back", "!document.querySelector('dialog').open && document.activeElement.ariaLabel === 'Evict ws_004'")
	told()

	page.Press(kb.Enter) // on the row's button
	page.AwaitText("dialog", "Evict ws_004?")
	page.Press(kb.Enter) // on the dialog's
	page.AwaitText("#toasts", "ws_004: 2 idle connections closed.")
	page.AwaitText(`[data-workspace="ws_004"] .cell-idle`, "0")
	told("evict ws_004")

	dismiss()
	page.Click(`button[aria-label="Renew ws_006"]`)
	page.Click("dialog button[type=submit]")
	page.AwaitText("#toasts", "ws_006 is renewed; 1 idle connection closed.")
	page.Click("#renew-all")
	page.AwaitText("dialog", "Renew all connections?")
	page.Click("dialog button[type=submit]")
	page.AwaitText("#toasts", "All are renewed; 9 idle connections closed.")
	told("evict ws_004", "renew ws_006", "renew all")

	dismiss()
	page.Click(`button[aria-label="Pause ws_005"]`)
	page.Click("dialog button[type=submit]")
	page.AwaitText("#toasts", "ws_005 is paused")
	rig.change(func(st *model.Stats) { st.Workspaces.Active[4].Paused = true })
	page.AwaitText(`[data-workspace="ws_005"]`, "Paused")
	dismiss()
	page.Click(`button[aria-label="Resume ws_005"]`)
	page.Click("dialog button[type=submit]")
	page.AwaitText("#toasts", "ws_005 is resumed")
	told("evict ws_004", "renew ws_006", "renew all", "pause ws_005", "resume ws_005")

	page.Click("#limits")
	page.Await("the present limits", "document.querySelector('#limit-all').value === '100' && document.querySelector('#limit-each').value === '3'")
	page.Press("5") // the field's text is not selected: 1005 or 5100 are both too many for this pool
	page.Await("another number", "document.querySelector('#limit-all').value !== '100'")
	browsertest.Value[any](page, "void (document.querySelector('#limit-all').value = 60, document.querySelector('#limit-each').value = 4)")
	page.Click("dialog button[type=submit]")
	page.AwaitText("#toasts", "The limits are 60 in all and 4 per workspace.")
	page.AwaitText("#budget-of", "of 60 connections")

	// What the server refuses stays in the dialog.
	rig.pool.mu.Lock()
	rig.pool.limit = func(context.Context, int, int) error { return model.ErrClosed }
	rig.pool.mu.Unlock()
	page.Click("#limits")
	page.Click("dialog button[type=submit]")
	page.Await("the reason", "document.querySelector('dialog .message')?.innerText.length > 5")
	if !browsertest.Value[bool](page, "document.querySelector('dialog').open") {
		t.Error("the dialog is closed")
	}

	// One that is not active can be paused too.
	page.Press(kb.Escape)
	page.Type("#filter", "sleeping-one")
	page.Click("#workspaces-empty button")
	page.Click("dialog button[type=submit]")
	page.AwaitText("#toasts", "sleeping-one is paused")
}

func changesSettings(t *testing.T, rig *dashboardRig) {
	page := rig.open(rig.tokens[Operator], browsertest.Look{})
	const dialog = `button[aria-label="Settings of ws_002"]`
	page.AwaitText("#workspaces-count", "8 active")
	if n := page.Count(".own-cap"); n != 0 {
		t.Errorf("%d own caps", n)
	}
	page.Click(dialog)
	page.AwaitText("dialog", "Settings of ws_002")
	page.Await("nothing of its own", "document.querySelector('#setting-maxConnections').value === '' && document.querySelector('#setting-role').value === ''")
	page.Type("#setting-maxConnections", "8")
	page.Type("#setting-statementTimeoutMs", "2500")
	page.Type("#setting-role", "tenant")
	rig.screenshot("settings")
	page.Click("dialog button[type=submit]")
	page.AwaitText("#toasts", "The settings of ws_002 are changed.")
	page.AwaitText(`[data-workspace="ws_002"] .own-cap`, "of 8")
	want := model.WorkspaceSettings{MaxConnections: 8, Role: "tenant", StatementTimeout: 2500 * time.Millisecond}
	if own, err := rig.pool.WorkspaceSettings(t.Context(), "ws_002"); err != nil || own != want {
		t.Errorf("%+v, %v", own, err)
	}

	// What the server refuses stays in the dialog.
	rig.pool.mu.Lock()
	rig.pool.set = func(context.Context, model.WorkspaceID, model.WorkspaceSettings) error { return errors.ErrUnsupported }
	rig.pool.mu.Unlock()
	page.Click(dialog)
	page.Await("what was set", "document.querySelector('#setting-maxConnections')?.value === '8' && document.querySelector('#setting-role').value === 'tenant'")
	page.Click("dialog button[type=submit]")
	page.Await("the reason", "document.querySelector('dialog .message')?.innerText.includes('unsupported')")
}

func downloadsADump(t *testing.T, rig *dashboardRig) {
	page := rig.open(rig.tokens[Operator], browsertest.Look{})
	folder := t.TempDir()
	page.DownloadTo(folder)
	page.Click("#dump")
	page.AwaitText("dialog", "no password")
	page.Click("dialog button[type=submit]")
	page.AwaitText("#toasts", ".zip is downloaded.")
	soon(t, "the file is there", func() bool {
		files, _ := filepath.Glob(filepath.Join(folder, "tenantpool-*Z.zip"))
		if len(files) != 1 {
			return false
		}
		content, err := os.ReadFile(files[0])
		return err == nil && string(content) == "PK dump"
	})

	// What the server refuses stays in the dialog, and nothing is saved.
	rig.pool.mu.Lock()
	rig.pool.dump = func(context.Context, io.Writer) error { return model.ErrClosed }
	rig.pool.mu.Unlock()
	page.Click("#dump")
	page.Click("dialog button[type=submit]")
	page.AwaitText("dialog .message", "closed")
	if files, _ := os.ReadDir(folder); len(files) != 1 {
		t.Errorf("%d files", len(files))
	}
}

func drainsAfterTheWord(t *testing.T, rig *dashboardRig) {
	page := rig.open(rig.tokens[Operator], browsertest.Look{})
	page.Click("#drain")
	page.Await("a button that cannot be pressed yet", "document.querySelector('dialog button[type=submit]').disabled && document.activeElement.id === 'drain-word'")
	page.Press("drai" + kb.Enter)
	if calls := rig.pool.done(); len(calls) != 0 {
		t.Errorf("the pool was told to %v", calls)
	}
	page.Press("n" + kb.Enter)
	page.AwaitText("#toasts", "Draining")
	page.AwaitText(`[data-banner="draining"]`, "No connection is lent any more; 10 are still in use.")
	if calls := fmt.Sprint(rig.pool.done()); calls != "[close]" {
		t.Errorf("the pool was told to %v", calls)
	}
}

func saysWhatIsWrong(t *testing.T, rig *dashboardRig) {
	var mu sync.Mutex
	var failure error
	fail := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		failure = err
	}
	var ping error
	rig.pool.ping = func(context.Context) error {
		mu.Lock()
		defer mu.Unlock()
		return ping
	}
	own := rig.pool.state
	rig.pool.stats = func(context.Context) (model.Stats, error) {
		mu.Lock()
		defer mu.Unlock()
		rig.pool.mu.Lock()
		defer rig.pool.mu.Unlock()
		return rig.pool.state, failure
	}
	page := rig.open(rig.tokens[Viewer], browsertest.Look{})
	calm := func() {
		t.Helper()
		rig.change(func(st *model.Stats) { *st = own })
		page.Await("no banner", "document.querySelectorAll('.banner').length === 0")
	}
	calm()
	rig.change(func(st *model.Stats) { st.Workspaces.ServerDown = errors.New("dial 10.0.0.7:5432: connection refused") })
	page.AwaitText(`[data-banner="server-down"]`, "PostgreSQL cannot be reached. dial 10.0.0.7:5432: connection refused")
	page.AwaitText("#pulse", "Not ready")
	calm()

	// The figures of a server that is frozen look well.
	answers := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		ping = err
	}
	answers(context.DeadlineExceeded)
	page.AwaitText(`[data-banner="server-down"]`, "PostgreSQL is not ready. It does not answer.")
	page.AwaitText("#pulse", "Not ready")
	rig.screenshot("frozen")
	answers(refusal{"53300"})
	page.AwaitText(`[data-banner="server-down"]`, "PostgreSQL is not ready. It refuses connections: too many clients.")
	answers(nil)
	calm()
	page.AwaitText("#pulse", "Live")

	rig.change(func(st *model.Stats) { st.Workspaces.Draining = true })
	page.AwaitText(`[data-banner="draining"]`, "10 are still in use")
	calm()
	rig.change(func(st *model.Stats) { st.Workspaces.EffectiveBudget = 40 })
	page.AwaitText(`[data-banner="lowered"]`, "Of the workspaces’ 90 connections it grants 40 at the moment")
	page.AwaitText("#budget-legend", "Withheld 50")
	page.AwaitText("#budget-legend", "Free 25")
	rig.screenshot("withheld")
	calm()
	rig.change(func(st *model.Stats) { st.Workspaces.Waiting, st.Workspaces.LongestWait = 5, 4*time.Second })
	page.AwaitText(`[data-banner="starving"]`, "The first of 5 waiting requests has waited for 4.0 s")
	calm()
	rig.change(func(st *model.Stats) { st.MaxConnections = 20 })
	page.AwaitText(`[data-banner="over"]`, "25 connections are open, the limit is 20")
	calm()

	// The supervisor gives nothing: the last figures stay, and are called old.
	fail(errors.New("the supervisor did not answer in 2 s"))
	page.AwaitText(`[data-banner="missing"]`, "The supervisor gives no figures: all counts: the supervisor did not answer in 2 s. The figures below are of ")
	page.AwaitText("#budget-open", "25")
	page.AwaitText("#pulse", "Figures of ")
	fail(nil)
	calm()
	page.AwaitText("#pulse", "Live")

	rig.stop()
	page.AwaitText(`[data-banner="unreachable"]`, "The connection to the admin server is lost.")
	page.AwaitText("#pulse", "No answer")
	page.AwaitText("#feed-state", "connection lost")
	rig.screenshot("lost")
}

func followsTheEvents(t *testing.T, rig *dashboardRig) {
	page := rig.open(rig.tokens[Viewer], browsertest.Look{})
	page.AwaitText("#feed-empty", "Quiet so far")
	soon(t, "the page listens", func() bool { return rig.pool.watching() == 1 })
	rig.pool.tell(model.Event{At: time.Now(), Kind: model.EventEvicted, Workspace: "ws_003", Reason: model.MakeRoom, IdleFor: 4200 * time.Millisecond, For: "ws_009"})
	page.AwaitText("#feed-list", "ws_003 after 4.2 s idle, for ws_009")
	rig.pool.tell(model.Event{At: time.Now(), Kind: model.EventDialFailed, Workspace: "ws_004", Err: "connection refused", Lost: 412})
	page.AwaitText("#feed-list", "ws_004 could not be dialed: connection refused")
	rig.pool.tell(model.Event{At: time.Now(), Kind: model.EventClosed, Workspace: "ws_005", Reason: model.IdleTimeOver, IdleFor: 5 * time.Minute})
	page.AwaitText("#feed-list", "ws_005 after 5 min idle, idle for too long")

	page.Click("#feed-pause")
	rig.pool.tell(model.Event{At: time.Now(), Kind: model.EventPaused, Workspace: "ws_006"})
	page.AwaitText("#feed-state", "paused, 1 new one")
	if page.Count(`#feed-list [data-kind="paused"]`) != 0 {
		t.Error("it came while the feed was paused")
	}
	page.Click("#feed-pause")
	page.AwaitText("#feed-list", "ws_006")

	// The stream breaks off: the page comes back by itself.
	rig.pool.mu.Lock()
	var watchers []chan model.Event
	for w := range rig.pool.watchers {
		watchers = append(watchers, w)
	}
	rig.pool.mu.Unlock()
	for _, w := range watchers {
		rig.pool.unwatch(w)
	}
	soon(t, "the page listens again", func() bool { return rig.pool.watching() == 1 })
	rig.pool.tell(model.Event{At: time.Now(), Kind: model.EventDialed, Workspace: "ws_007", Took: 5 * time.Millisecond})
	page.AwaitText("#feed-list", "ws_007 in 5.0 ms")

	// What the reader was too slow for is told.
	rig.tellLost(3)
	page.AwaitText("#feed-list", "3 events came too fast to be told")

	// A flood is shown in part, and quickly.
	for i := range 240 {
		rig.pool.tell(model.Event{At: time.Now(), Kind: model.EventDialed, Workspace: model.WorkspaceID(fmt.Sprintf("flood_%03d", i)), Took: time.Millisecond})
	}
	page.AwaitText("#feed-list", "flood_239")
	if n := page.Count("#feed-list li"); n != 200 {
		t.Errorf("%d lines are kept", n)
	}
	browsertest.Value[any](page, "void (document.querySelector('#feed-kinds').value = 'trouble', document.querySelector('#feed-kinds').dispatchEvent(new Event('change')))")
	page.AwaitText("#feed-list", "connection refused")
	if strings.Contains(page.Text("#feed-list"), "flood") {
		t.Error("dials are no trouble")
	}
	page.Click("#feed-clear")
	page.AwaitText("#feed-empty", "Quiet so far")
}

// tellLost sends an event that says how many were lost before it.
func (rig *dashboardRig) tellLost(n uint64) {
	rig.pool.mu.Lock()
	for _, lost := range rig.pool.watchers {
		*lost = n
	}
	rig.pool.mu.Unlock()
	rig.pool.tell(model.Event{At: time.Now(), Kind: model.EventDialed, Workspace: "ws_001", Took: time.Millisecond})
}

// tellsLongIDsApart: ids that differ in their last characters only.
func tellsLongIDsApart(t *testing.T, rig *dashboardRig) {
	const long = "customer-of-the-north-west-region-with-a-contract-of-2026-"
	rig.change(func(st *model.Stats) {
		for i := range st.Workspaces.Active {
			st.Workspaces.Active[i].ID = model.WorkspaceID(fmt.Sprintf("%s%04d", []string{"customer-", long}[i%2], i+1))
		}
	})
	page := rig.open(rig.tokens[Operator], browsertest.Look{})
	for _, width := range []int64{1280, 1440, 390} {
		page.Look(browsertest.Look{Width: width, Height: 900})
		page.Await("the table", fmt.Sprintf("innerWidth === %d && document.querySelectorAll('#workspace-rows .id').length === 8", width))
		// What is seen of an id: its beginning, and the text after that as far as it is in the box.
		cut := browsertest.Value[string](page, `[...document.querySelectorAll('#workspace-rows .id')].filter((e) => {
			const box = e.getBoundingClientRect(), end = document.createRange();
			end.selectNode(e.lastChild);
			return end.getBoundingClientRect().right > box.right + 1 || e.firstChild.clientWidth < 40;
		}).map((e) => e.title).join(' ')`)
		if cut != "" {
			t.Errorf("at %d pixels the ends of %s are not to be seen", width, cut)
		}
		if short := browsertest.Value[bool](page, `[...document.querySelectorAll('#workspace-rows [title^="customer-000"]')].every((e) => e.firstChild.scrollWidth <= e.firstChild.clientWidth)`); !short {
			t.Errorf("at %d pixels short ids are cut", width)
		}
		browsertest.Value[any](page, "void document.querySelector('#workspaces').scrollIntoView()")
		rig.screenshot(fmt.Sprintf("ids-%d", width))
	}
	if title := browsertest.Value[string](page, fmt.Sprintf(`document.querySelector('[data-workspace="%s0002"] .id').title`, long)); title != long+"0002" {
		t.Errorf("the hover says %q", title)
	}
	page.Click(fmt.Sprintf(`[data-workspace="%s0002"] .id`, long))
	if copied := browsertest.Value[string](page, "getSelection().toString()"); copied != long+"0002" {
		t.Errorf("a click and a copy give %q", copied)
	}
}

func fitsNarrowScreens(t *testing.T, rig *dashboardRig) {
	rig.change(func(st *model.Stats) {
		st.Workspaces.Waiting, st.Workspaces.LongestWait = 1234, 9*time.Second
		st.Workspaces.Active[0].ID = model.WorkspaceID("customer-with-a-very-long-name-that-goes-on-and-on-0001")
		st.Workspaces.Active[1].Paused = true
		st.Workspaces.Active[2].Waiting = 7
	})
	narrow := browsertest.Look{Width: 400, Height: 860}
	fits := func(what string) {
		t.Helper()
		if width := browsertest.Value[int](rig.page, "document.documentElement.scrollWidth"); width > 400 {
			t.Errorf("%s is %d pixels wide: %s", what, width, browsertest.Value[string](rig.page,
				"[...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > 401).map((e) => e.tagName + '#' + e.id + '.' + e.className).slice(0, 8).join(' ')"))
		}
	}
	page := rig.open("", narrow)
	page.Await("the form", "document.activeElement?.id === 'token'")
	fits("the form")
	rig.screenshot("form-400")
	page = rig.open(rig.tokens[Operator], narrow)
	rig.change(func(st *model.Stats) {
		st.Workspaces.ServerDown = errors.New("dial a-server-with-a-long-name.internal.example.org:5432: connection refused")
	})
	page.AwaitText("#pulse", "Not ready")
	fits("the page")
	rig.screenshot("page-400")
	browsertest.Value[any](page, "void document.querySelector('#workspaces').scrollIntoView()")
	rig.screenshot("workspaces-400")
	page.Click("#limits")
	fits("the dialog")
	page.Press(kb.Escape)

	background := func() string {
		t.Helper()
		return browsertest.Value[string](page, "getComputedStyle(document.body).backgroundColor")
	}
	const light, dark = "rgb(244, 246, 248)", "rgb(14, 19, 24)"
	if is := background(); is != light {
		t.Errorf("light is %s", is)
	}
	page.Look(browsertest.Look{Width: 400, Height: 860, Dark: true})
	if is := background(); is != dark {
		t.Errorf("dark is %s", is)
	}
	rig.screenshot("workspaces-400-dark")
	page.Click("#theme") // against the system's preference
	if is := background(); is != light {
		t.Errorf("light by choice is %s", is)
	}
	page.Reload()
	page.AwaitText("#pulse", "Not ready")
	if is := background(); is != light {
		t.Errorf("light by choice is %s after a reload", is)
	}
}

func worksUnderAPrefix(t *testing.T, rig *dashboardRig) {
	e := echo.New()
	if err := rig.server.Mount(e, "/ops/pool"); err != nil {
		t.Fatal(err)
	}
	on := httptest.NewServer(e)
	t.Cleanup(on.Close)
	t.Cleanup(rig.server.Close) // before that
	rig.page = rig.browser.Open(t, on.URL+"/ops/pool", browsertest.Look{})
	rig.signIn(rig.tokens[Operator])
	rig.page.AwaitText("#pulse", "Live")
	rig.page.AwaitText("#feed-state", "listening")
	if address := browsertest.Value[string](rig.page, "location.href"); address != on.URL+"/ops/pool/" {
		t.Errorf("the address is %s", address)
	}
}

func takesTextForText(t *testing.T, rig *dashboardRig) {
	const evil = `<img src=x onerror="document.title='owned'"><b>bold</b>`
	rig.change(func(st *model.Stats) {
		st.Workspaces.Active[0].ID = evil
		st.Workspaces.LongestLease, st.Workspaces.LongestLeaseWorkspace = time.Second, evil
	})
	page := rig.open(rig.tokens[Operator], browsertest.Look{})
	rig.change(func(st *model.Stats) { st.Workspaces.ServerDown = errors.New(evil) })
	soon(t, "the page listens", func() bool { return rig.pool.watching() == 1 })
	rig.pool.tell(model.Event{At: time.Now(), Kind: model.EventKind(`evil`), Workspace: evil, Err: evil})
	rig.pool.tell(model.Event{At: time.Now(), Kind: model.EventLimitReached, Workspace: evil, Err: evil})
	for _, place := range []string{"#workspace-rows", "#facts", "#banners", "#feed-list"} {
		page.AwaitText(place, evil)
		if n := page.Count(place + " img"); n != 0 {
			t.Errorf("%s has an image", place)
		}
	}
	page.Click("td.actions button")
	page.AwaitText("dialog", evil)
}

func showsCharts(t *testing.T, rig *dashboardRig) {
	page := rig.open(rig.tokens[Viewer], browsertest.Look{})
	value := func(chart string) string { return `[data-chart="` + chart + `"] .chart-value` }
	page.AwaitText(value("hitRatio"), "–") // nothing has happened
	// In each step: 1,000 requests, of which 900 hit, 80 were handed off and 20 got
	// a fresh connection; 985 of them waited for up to 0.1 ms, 15 for 25 to 50 ms.
	// The p99 is then a third of the way through those 15: 25 + 25/3 = 33 ms.
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			select {
			case <-tick.C:
			case <-stop:
				tick.Stop()
				return
			}
			rig.change(func(st *model.Stats) {
				c := &st.Workspaces.Counters
				c.Acquires += 1000
				c.Hits += 900
				c.HandOffs += 80
				c.FreshGrants += 20
				c.Closes[model.MakeRoom] += 10
				st.Workspaces.Waits.Counts[0] += 985
				st.Workspaces.Waits.Counts[7] += 15
			})
		}
	}()
	defer func() { close(stop); <-stopped }()
	page.AwaitText(value("hitRatio"), "90.0 %")
	page.AwaitText(value("waitP99"), "33 ms")
	// The ratio of the two rates is exact, however unsteady the ticks are.
	page.Await("rates", `(() => {
		const of = (chart) => Number(document.querySelector('[data-chart="' + chart + '"] .chart-value .big').innerText.replaceAll(',', ''));
		return of('requests') > 1000 && Math.abs(of('requests') / of('evictions') - 100) < 2;
	})()`)
	page.Await("a line", `document.querySelector('[data-chart="requests"] .line').getAttribute('d').split('L').length > 2`)
	rig.screenshot("charts")
	page.Look(browsertest.Look{Dark: true})
	rig.screenshot("charts-dark")
	browsertest.Value[any](page, `void document.querySelector('[data-chart="requests"] svg').focus()`)
	page.Press(kb.ArrowLeft)
	page.AwaitText(value("evictions"), "at ") // all charts show the same moment
}
