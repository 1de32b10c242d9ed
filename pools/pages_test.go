package pools_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What these pages say is backed by tests; they must be there.
func TestTheTestsThatThePagesNameExist(t *testing.T) {
	there := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		code, err := os.ReadFile(path)
		for _, match := range declared.FindAllSubmatch(code, -1) {
			there[string(match[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for page, atLeast := range map[string]int{"../SECURITY.md": 40, "../docs/reliability.md": 20} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		named := regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(string(text), -1)
		if len(named) < atLeast {
			t.Errorf("%s names %d tests", page, len(named))
		}
		for _, match := range named {
			if !there[match[1]] {
				t.Errorf("%s: there is no test %s", page, match[1])
			}
		}
	}
}

func TestTheLinksOfThePagesLeadSomewhere(t *testing.T) {
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil || len(pages) < 5 {
		t.Fatal(pages, err)
	}
	migrating, err := filepath.Glob("../docs/migrating/*.md")
	if err != nil || len(migrating) < 6 {
		t.Fatal(migrating, err)
	}
	pages = append(pages, migrating...)
	link := regexp.MustCompile(`\]\(([^)#]+)(?:#([^)]+))?\)`)
	notInAnchors := regexp.MustCompile(`[^a-z0-9 _-]`)
	for _, page := range append(pages, "../README.md", "../SECURITY.md", "../CONTRIBUTING.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range link.FindAllStringSubmatch(string(text), -1) {
			target, anchor := found[1], found[2]
			if strings.Contains(target, "://") {
				continue
			}
			content, err := os.ReadFile(filepath.Join(filepath.Dir(page), target))
			if err != nil && !isFolder(filepath.Join(filepath.Dir(page), target)) {
				t.Errorf("%s: %v", page, err)
			}
			anchors := map[string]bool{"": true}
			for line := range strings.Lines(string(content)) {
				if heading := strings.TrimLeft(line, "#"); heading != line {
					heading = notInAnchors.ReplaceAllString(strings.ToLower(strings.TrimSpace(heading)), "")
					anchors[strings.ReplaceAll(heading, " ", "-")] = true
				}
			}
			if !anchors[anchor] {
				t.Errorf("%s: %s has no heading #%s", page, target, anchor)
			}
		}
	}
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
