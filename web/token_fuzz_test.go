package web

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"aidanwoods.dev/go-paseto"
)

func refusedWell(err error) bool {
	return errors.Is(err, errTokenInvalid) || errors.Is(err, errTokenExpired)
}

// A token from which something is taken, or to which something is added, anywhere,
// is none; nor is any other text.
func FuzzEditedTokens(f *testing.F) {
	key := NewPrivateKey()
	token := forged(key, nil)
	payload := len("v4.public.")
	footer := strings.LastIndex(token, ".") + 1
	for _, at := range []int{0, 1, 3, payload, payload + 9, footer - 87, footer - 2, footer - 1, footer, footer + 3, len(token) - 1, len(token)} {
		f.Add(uint16(at), uint16(0), "=")
		f.Add(uint16(at), uint16(1), "A")
		f.Add(uint16(at), uint16(1), "")
		f.Add(uint16(at), uint16(len(token)), "")
		f.Add(uint16(at), uint16(0), "\r\n")
	}
	f.Add(uint16(0), uint16(len(token)), "v4.local."+strings.Repeat("A", 300)+".e30")
	f.Add(uint16(footer), uint16(len(token)), strings.Repeat("A", 9000))
	f.Fuzz(func(t *testing.T, at, take uint16, put string) {
		from := min(int(at), len(token))
		edited := token[:from] + put + token[min(from+int(take), len(token)):]
		v := verifierAt(midnight, key)
		who, err := v.verify(edited)
		if edited == token {
			if err != nil || who.Role != Operator {
				t.Errorf("the token itself: %+v, %v", who, err)
			}
			return
		}
		if !refusedWell(err) || who.Role != "" {
			t.Errorf("%q\nis taken for\n%q: %+v, %v", edited, token, who, err)
		}
	})
}

// Whatever an issuer signs, it lets in nobody without a name and a known role, and
// nobody for ever.
func FuzzClaims(f *testing.F) {
	key := NewPrivateKey()
	good := string(must(paseto.NewParserWithoutExpiryCheck().ParseV4Public(key.Public().key, forged(key, nil), nil)).ClaimsJSON())
	kid := `{"kid":"` + key.Public().ID() + `"}`
	for _, change := range []string{
		`"role":"operator"`, `"role":"root"`, `"role":""`, `"role":null`, `"role":["operator"]`, `"role":"service","workspaces":["a"]`,
		`"role":"viewer","workspaces":["a"]`, `"role":"service","workspaces":{"a":1}`, `"ROLE":"operator","role":"viewer"`,
	} {
		f.Add(strings.Replace(good, `"role":"operator"`, change, 1), "")
	}
	for _, change := range []string{`""`, `"a\nb"`, `1`, `"` + strings.Repeat("x", 129) + `"`} {
		f.Add(strings.Replace(good, `"anna"`, change, 1), "")
	}
	f.Add(strings.Replace(good, `"exp"`, `"EXP"`, 1), "")
	f.Add(strings.Replace(good, `"nbf"`, `"not"`, 1), "")
	f.Add(strings.Replace(good, `2030`, `9999`, 2), "")
	f.Add(strings.Repeat(`{"a":`, 12_000), "")
	f.Add(good, `{"kid":1}`)
	f.Add(good, strings.Repeat("x", 300))
	f.Fuzz(func(t *testing.T, claims, footer string) {
		if footer == "" {
			footer = kid // it has another value in each process
		}
		token, err := paseto.NewTokenFromClaimsJSON([]byte(claims), []byte(footer))
		if err != nil {
			t.Skip("it cannot be signed")
		}
		v := verifierAt(midnight, key)
		who, err := v.verify(token.V4Sign(key.key, nil))
		if err != nil {
			if !refusedWell(err) || who.Role != "" {
				t.Errorf("%s: %+v, %v", claims, who, err)
			}
			return
		}
		if !slices.Contains([]Role{Viewer, Operator, Service}, who.Role) || !goodSubject(who.Subject) ||
			!who.Expires.After(midnight) || who.Role != Service && len(who.Workspaces) > 0 {
			t.Errorf("%s: %+v", claims, who)
		}
		if _, err := v.verify(token.V4Sign(key.key, nil)); err != nil {
			t.Errorf("the second time: %v", err)
		}
		later := v
		later.now = func() time.Time { return who.Expires }
		if _, err := later.verify(token.V4Sign(key.key, nil)); !errors.Is(err, errTokenExpired) {
			t.Errorf("at its end: %v", err)
		}
	})
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
