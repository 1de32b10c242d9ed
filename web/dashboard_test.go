package web

import (
	"io/fs"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

func TestTheDashboardIsServedUnderAStrictPolicyAndKeptByItsTag(t *testing.T) {
	rig := newHandlersRig(t)
	for path, contentType := range map[string]string{
		"/": "text/html; charset=utf-8", "/assets/main.js": "text/javascript; charset=utf-8",
		"/assets/style.css": "text/css; charset=utf-8", "/assets/icon.svg": "image/svg+xml",
	} {
		request := rig.request("", path, "")
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		header := answer.Header
		if answer.StatusCode != http.StatusOK || header.Get("Content-Type") != contentType || header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", path, answer.StatusCode, header)
		}
		want := "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
		if policy := header.Get("Content-Security-Policy"); policy != want {
			t.Errorf("%s: the policy is %q", path, policy)
		}
		tag := header.Get("ETag")
		for sent, status := range map[string]int{tag: 304, "W/" + tag: 304, `"other", ` + tag: 304, `"other"`: 200, "": 200} {
			request.Header.Set("If-None-Match", sent)
			answer, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			answer.Body.Close()
			if answer.StatusCode != status {
				t.Errorf("%s with If-None-Match %s: %d, want %d", path, sent, answer.StatusCode, status)
			}
		}
	}
	for _, path := range []string{"/assets/", "/assets/none.js", "/assets/index.html", "/assets/../dashboard.go", "/assets/%2e%2e/doc.go", "/assets/dashboard/main.js"} {
		if status, body := rig.do("", path, ""); status != http.StatusNotFound {
			t.Errorf("%s: %d %.60s", path, status, body)
		}
	}
}

// The browser would refuse these too; here they fail without a browser.
func TestThePageHasNoInlineScriptOrStyleAndNoAbsoluteAddress(t *testing.T) {
	forbidden := regexp.MustCompile(`(?i:<script>|<style|\sstyle=|\son[a-z]+=|javascript:|(src|href)="/|\.innerHTML|\beval\(|document\.write)|["'(]//|\burl\(`)
	absolute := regexp.MustCompile(`https?://[^\s"')]+`)
	for name, file := range dashboardFiles {
		content := string(file.content)
		if found := forbidden.FindString(content); found != "" {
			t.Errorf("%s has %q", name, found)
		}
		for _, address := range absolute.FindAllString(content, -1) {
			if address != "http://www.w3.org/2000/svg" { // a name, not an address
				t.Errorf("%s has %s", name, address)
			}
		}
	}
}

func TestAllFilesOfTheDashboardAreServed(t *testing.T) {
	entries, err := fs.ReadDir(dashboardFolder, "dashboard")
	if err != nil || len(entries) < 5 {
		t.Fatal(entries, err)
	}
	rig := newHandlersRig(t)
	_, page := rig.do("", "/", "")
	for _, entry := range entries {
		if entry.Name() == "index.html" {
			continue
		}
		status, body := rig.do("", "/assets/"+entry.Name(), "")
		if status != http.StatusOK || body == "" {
			t.Errorf("%s: %d", entry.Name(), status)
		}
	}
	for _, link := range regexp.MustCompile(`(?:src|href)="([^"#]+)"`).FindAllStringSubmatch(page, -1) {
		if status, _ := rig.do("", "/"+link[1], ""); status != http.StatusOK || !strings.HasPrefix(link[1], "assets/") {
			t.Errorf("the page's %s: %d", link[1], status)
		}
	}
}
