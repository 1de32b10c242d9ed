package migrating_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Each block of Go on a page is part of a file here.
func TestThePagesShowThisCode(t *testing.T) {
	var code strings.Builder
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		code.WriteString(string(text))
	}
	pages, err := filepath.Glob("../../migrating/*.md")
	if err != nil || len(pages) < 6 {
		t.Fatal(pages, err)
	}
	blocks := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
			blocks++
			for _, part := range strings.Split(block[1], "\n// ...\n") {
				indented := regexp.MustCompile(`(?m)^(.)`).ReplaceAllString(part, "\t$1")
				if !strings.Contains(code.String(), part) && !strings.Contains(code.String(), indented) {
					t.Errorf("%s has code that is not tried:\n%s", page, part)
				}
			}
		}
	}
	if blocks < 10 {
		t.Errorf("only %d blocks of code", blocks)
	}
}
