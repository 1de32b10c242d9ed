package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"

	"github.com/tenantpool/tenantpool/web/browsertest"
)

// told is the rest of the line that begins so.
func (p *program) told(beginning string) string {
	p.t.Helper()
	for _, line := range p.said {
		if rest, ok := strings.CutPrefix(line, beginning); ok {
			return strings.TrimSpace(rest)
		}
	}
	p.t.Fatalf("it did not say %q:\n%s", beginning, p.stderr())
	return ""
}

// With UPDATE_SCREENSHOT=1 it also writes the README's picture, which takes a
// minute more.
func TestTheDashboardOfARunningDemo(t *testing.T) {
	browser := browsertest.Start(t)
	p := start(t, "demo", "--workspaces", "60", "--budget", "40", "--workers", "12", "--addr", "127.0.0.1:0")
	p.await("time") // the rows' header: there is traffic
	address, operator, viewer := p.told("dashboard"), p.told("operator token"), p.told("viewer token")
	open := func(token string) *browsertest.Page {
		t.Helper()
		page := browser.Open(t, address, browsertest.Look{Width: 1280, Height: 1060})
		page.Await("the form", "document.activeElement?.id === 'token'")
		page.Paste(token)
		page.Press(kb.Enter)
		page.AwaitText("#pulse", "Live")
		return page
	}

	page := open(operator)
	page.AwaitText("#who", "demo operator · operator")
	page.AwaitText("#budget-of", "of 40 connections open")
	figures := func(selector string) string {
		return fmt.Sprintf("Number(document.querySelector(%q)?.innerText.replaceAll(',', ''))", selector)
	}
	requests := figures(`[data-chart="requests"] .chart-value .big`)
	page.Await("requests are counted", requests+" > 10")
	before := browsertest.Value[string](page, "document.querySelector('#facts').innerText")
	page.Await("the figures move", fmt.Sprintf("document.querySelector('#facts').innerText !== %q", before))
	page.Await("evictions, because 60 workspaces share 35 connections", figures(`[data-chart="evictions"] .chart-value .big`)+" > 0")
	page.Await("events", "document.querySelectorAll('#feed-list li').length > 10")
	if os.Getenv("UPDATE_SCREENSHOT") == "1" {
		updateScreenshot(t, page)
	}

	// One of the least popular, so that its connection is idle: but another
	// workspace may take it at any moment, so it is tried until one was closed. It is
	// found and clicked at one moment, or its button might be gone.
	page.Type("#filter", "0") // of the ids
	evicted := false
	for try := 0; try < 20 && !evicted; try++ {
		id := browsertest.Value[string](page, `(() => {
			const button = [...document.querySelectorAll('#workspace-rows tr')]
				.filter((row) => row.querySelector('.cell-idle').innerText !== '0')
				.map((row) => row.querySelector('[aria-label^="Evict "]'))
				.find((button) => button && !button.disabled);
			button?.click();
			return button?.closest('tr').dataset.workspace ?? '';
		})()`)
		if id == "" {
			continue
		}
		page.AwaitText("dialog", "Evict "+id+"?")
		page.Press(kb.Enter)
		page.AwaitText("#toasts", id)
		if strings.Contains(page.Text("#toasts .toast:last-child"), "closed") {
			// The flood of the traffic's own events is left out.
			browsertest.Value[any](page, `void (document.querySelector('#feed-kinds').value = 'operators', document.querySelector('#feed-kinds').dispatchEvent(new Event('change')))`)
			page.Await("the event of the eviction", fmt.Sprintf(`[...document.querySelectorAll('#feed-list li[data-kind="evicted"]')].some((line) => line.dataset.workspace === %q && line.innerText.includes('asked for by an operator'))`, id))
			evicted = true
		}
	}
	if !evicted {
		t.Error("no idle connection could be evicted")
	}
	page.NoProblems()

	page = open(viewer)
	page.Await("rows", "document.querySelectorAll('#workspace-rows tr').length > 5")
	if n := page.Count("#operator-tools *, td.actions, button.danger"); n != 0 {
		t.Errorf("a viewer has %d controls", n)
	}
	status := browsertest.Value[int](page, `fetch('api/admin.evictWorkspace', {
		method: 'POST', body: JSON.stringify({workspaceId: document.querySelector('#workspace-rows tr').dataset.workspace}),
		headers: {'Content-Type': 'application/json', Authorization: 'Bearer ' + sessionStorage.getItem('tenantpool.token')},
	}).then((answer) => answer.status)`)
	if status != 403 {
		t.Errorf("evictWorkspace gives a viewer %d", status)
	}
	page.NoProblems()

	p.interrupt()
	if status := p.exit(); status != 0 {
		t.Errorf("exit status %d:\n%s", status, p.stderr())
	}
	if left := p.leftBehind(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// updateScreenshot writes the README's picture: a minute of traffic, in light
// colours.
func updateScreenshot(t *testing.T, page *browsertest.Page) {
	t.Helper()
	select {
	case <-time.After(60 * time.Second): // a picture of a minute takes one
	case <-t.Context().Done():
		return
	}
	png := page.Screenshot()
	if len(png) > 300_000 {
		t.Errorf("the screenshot has %d bytes", len(png))
	}
	folder := filepath.Join("..", "..", "docs")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "dashboard.png"), png, 0o644); err != nil {
		t.Fatal(err)
	}
}
