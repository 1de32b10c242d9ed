package model_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tenantpool/tenantpool/model"
)

func TestEveryByteOfAnIDIsALetterADigitAHyphenOrAnUnderscore(t *testing.T) {
	const allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
	for b := range 256 {
		s := "a" + string([]byte{byte(b)}) + "z"
		id, err := model.ParseWorkspaceID(s)
		var bad *model.WorkspaceIDError
		if strings.Contains(allowed, s[1:2]) {
			if err != nil || string(id) != s {
				t.Errorf("%q: %v", s, err)
			}
		} else if !errors.As(err, &bad) || !strings.Contains(err.Error(), "byte 1") {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestAnIDHasOneToSixtyThreeBytes(t *testing.T) {
	for length, want := range map[int]string{0: "it is empty", 1: "", 63: "", 64: "64 bytes, more than 63", 100_000: "100000 bytes, more than 63"} {
		_, err := model.ParseWorkspaceID(strings.Repeat("x", length))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%d bytes: %v", length, err)
		}
		if len(fmt.Sprint(err)) > 200 {
			t.Errorf("the error has %d bytes", len(err.Error()))
		}
	}
}

// It may come from a request, and end in a log.
func TestABadIDIsQuotedInItsError(t *testing.T) {
	_, err := model.ParseWorkspaceID("a\nlevel=error\x1b[2J")
	if err == nil || strings.ContainsAny(err.Error(), "\n\x1b") {
		t.Errorf("%v", err)
	}
}
