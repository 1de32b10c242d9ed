package model_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/tenantpool/tenantpool/model"
)

var validID = regexp.MustCompile(`\A[A-Za-z0-9_-]{1,63}\z`)

// An id is accepted as it is, or refused with a text that may stand in a log.
func FuzzParseWorkspaceID(f *testing.F) {
	for _, s := range []string{
		"", "a", "customer-42", "A_b-9", "a b", "a.b", "../x", "a\x00", "a\nlevel=error", "\xff\xfe", "ａ", "e\u0301",
		"\u202eabc", `"; DROP DATABASE postgres; --`, strings.Repeat("x", 63), strings.Repeat("x", 64), strings.Repeat("ä", 1000),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := model.ParseWorkspaceID(s)
		if string(id) != s {
			t.Errorf("%q became %q", s, id)
		}
		if accepted := err == nil; accepted != validID.MatchString(s) {
			t.Errorf("%q: %v", s, err)
		}
		if err == nil {
			return
		}
		var bad *model.WorkspaceIDError
		if !errors.As(err, &bad) {
			t.Errorf("%q: not a WorkspaceIDError: %v", s, err)
		}
		text := err.Error()
		unprintable := func(r rune) bool { return !unicode.IsPrint(r) }
		if len(text) > 500 || !utf8.ValidString(text) || strings.ContainsFunc(text, unprintable) {
			t.Errorf("%q: %d bytes of error: %q", s, len(text), text)
		}
	})
}
