package web

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"aidanwoods.dev/go-paseto"

	"github.com/tenantpool/tenantpool/model"
)

// midnight is when the tests' tokens are issued.
var midnight = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func verifierAt(now time.Time, keys ...PrivateKey) verifier {
	var public []PublicKey
	for _, key := range keys {
		public = append(public, key.Public())
	}
	v := newVerifier(Options{Keys: public, Issuer: DefaultIssuer, Audience: DefaultAudience, MaxTokenTTL: DefaultMaxTokenTTL})
	v.now = func() time.Time { return now }
	return v
}

func issued(t *testing.T, key PrivateKey, c Claims, at time.Time) string {
	t.Helper()
	token, err := issue(key, c, at)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestATokenSaysWhoItIsOf(t *testing.T) {
	key := NewPrivateKey()
	for _, c := range []Claims{
		{Subject: "anna", Role: Viewer, TTL: time.Hour},
		{Subject: "Björn B.", Role: Operator, TTL: DefaultMaxTokenTTL},
		{Subject: "shop", Role: Service, TTL: time.Minute, Workspaces: []model.WorkspaceID{"a", "b-c"}},
	} {
		who, err := verifierAt(midnight, key).verify(issued(t, key, c, midnight))
		if err != nil || who.Subject != c.Subject || who.Role != c.Role || fmt.Sprint(who.Workspaces) != fmt.Sprint(c.Workspaces) {
			t.Errorf("%+v became %+v: %v", c, who, err)
		}
	}
}

func TestATokenIsGoodFromNowToItsExpiry(t *testing.T) {
	key := NewPrivateKey()
	token := issued(t, key, Claims{Subject: "anna", Role: Viewer, TTL: time.Hour}, midnight)
	for after, want := range map[time.Duration]error{
		-31 * time.Second:        errTokenInvalid,
		-29 * time.Second:        nil, // the issuer's clock may be ahead
		0:                        nil,
		time.Hour - time.Second:  nil,
		time.Hour:                errTokenExpired,
		1000 * 365 * time.Minute: errTokenExpired,
	} {
		if _, err := verifierAt(midnight.Add(after), key).verify(token); !errors.Is(err, want) {
			t.Errorf("after %v: %v, want %v", after, err, want)
		}
	}
}

func TestKeysAreRotated(t *testing.T) {
	older, newer := NewPrivateKey(), NewPrivateKey()
	c := Claims{Subject: "anna", Role: Viewer, TTL: time.Hour}
	of := map[string]string{"older": issued(t, older, c, midnight), "newer": issued(t, newer, c, midnight)}
	for _, step := range []struct {
		keys         []PrivateKey
		older, newer error
	}{
		{[]PrivateKey{older}, nil, errTokenInvalid},
		{[]PrivateKey{older, newer}, nil, nil},
		{[]PrivateKey{newer}, errTokenInvalid, nil},
	} {
		v := verifierAt(midnight, step.keys...)
		if _, err := v.verify(of["older"]); !errors.Is(err, step.older) {
			t.Errorf("%d keys, older: %v", len(step.keys), err)
		}
		if _, err := v.verify(of["newer"]); !errors.Is(err, step.newer) {
			t.Errorf("%d keys, newer: %v", len(step.keys), err)
		}
	}
}

// forged is a token that is signed by the key, and good but for what spoil does.
func forged(key PrivateKey, spoil func(*paseto.Token)) string {
	t := paseto.NewToken()
	t.SetIssuer("tenantpool")
	t.SetAudience("tenantpool-admin")
	t.SetSubject("anna")
	t.SetIssuedAt(midnight)
	t.SetNotBefore(midnight)
	t.SetExpiration(midnight.Add(time.Hour))
	t.SetString("role", "operator")
	t.SetFooter([]byte(`{"kid":"` + key.Public().ID() + `"}`))
	if spoil != nil {
		spoil(&t)
	}
	return t.V4Sign(key.key, nil)
}

// without removes a claim.
func without(name string) func(*paseto.Token) {
	return func(t *paseto.Token) {
		claims := t.Claims()
		delete(claims, name)
		changed, err := paseto.MakeToken(claims, t.Footer())
		if err != nil {
			panic(err)
		}
		*t = *changed
	}
}

func set(name string, value any) func(*paseto.Token) {
	return func(t *paseto.Token) {
		if err := t.Set(name, value); err != nil {
			panic(err)
		}
	}
}

func TestTokensThatAreNoGoodAreAllRefusedAlike(t *testing.T) {
	key, stranger := NewPrivateKey(), NewPrivateKey()
	good := forged(key, nil)
	v := verifierAt(midnight, key)
	if who, err := v.verify(good); err != nil || who.Role != Operator {
		t.Fatalf("the token that the others are made of is refused: %v", err)
	}
	parts := strings.Split(good, ".")
	payload, _ := base64.RawURLEncoding.DecodeString(parts[2])
	changed := append([]byte(nil), payload...)
	changed[3] ^= 1
	unsigned := append(append([]byte(nil), payload[:len(payload)-64]...), make([]byte, 64)...)
	local := paseto.NewToken()
	v2 := paseto.NewV2AsymmetricSecretKey()

	for name, token := range map[string]string{
		"nothing":                   "",
		"no token":                  "hunter2",
		"only dots":                 "...",
		"cut":                       good[:len(good)-10],
		"no footer":                 strings.Join(parts[:3], "."),
		"empty footer":              strings.Join(parts[:3], ".") + ".",
		"one part more":             good + ".x",
		"changed":                   parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(changed) + "." + parts[3],
		"unsigned":                  parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(unsigned) + "." + parts[3],
		"padded":                    good + "=",
		"spaces":                    good + " ",
		"called v3":                 "v3" + good[2:],
		"called local":              "v4.local" + good[len("v4.public"):],
		"v4.local":                  local.V4Encrypt(paseto.NewV4SymmetricKey(), nil),
		"v2.public":                 local.V2Sign(v2),
		"another key":               forged(stranger, nil),
		"another key, our id":       forged(stranger, func(t *paseto.Token) { t.SetFooter([]byte(`{"kid":"` + key.Public().ID() + `"}`)) }),
		"unknown id":                forged(key, func(t *paseto.Token) { t.SetFooter([]byte(`{"kid":"k4.pid.x"}`)) }),
		"no id":                     forged(key, func(t *paseto.Token) { t.SetFooter([]byte(`{}`)) }),
		"footer that is no JSON":    forged(key, func(t *paseto.Token) { t.SetFooter([]byte(key.Public().ID())) }),
		"a large footer":            forged(key, func(t *paseto.Token) { t.SetFooter([]byte(strings.Repeat(" ", 300) + string(t.Footer()))) }),
		"implicit assertion":        func() string { t := paseto.NewToken(); return t.V4Sign(key.key, []byte("x")) }(),
		"large":                     forged(key, set("more", strings.Repeat("x", maxToken))),
		"another issuer":            forged(key, set("iss", "tenantpool2")),
		"another audience":          forged(key, set("aud", "tenantpool")),
		"no issuer":                 forged(key, without("iss")),
		"no audience":               forged(key, without("aud")),
		"no subject":                forged(key, without("sub")),
		"a subject of lines":        forged(key, set("sub", "anna\nrole=operator")),
		"a long subject":            forged(key, set("sub", strings.Repeat("a", 129))),
		"no role":                   forged(key, without("role")),
		"unknown role":              forged(key, set("role", "root")),
		"the role public":           forged(key, set("role", "public")),
		"two roles":                 forged(key, set("role", []string{"operator"})),
		"no expiry":                 forged(key, without("exp")),
		"no not-before":             forged(key, without("nbf")),
		"an expiry that is no time": forged(key, set("exp", "later")),
		"an expiry of a number":     forged(key, set("exp", 4102444800)),
		"not yet valid":             forged(key, set("nbf", midnight.Add(time.Hour))),
		"workspaces for operators":  forged(key, set("workspaces", []string{"a"})),
		"expired, another audience": forged(key, func(t *paseto.Token) {
			t.SetExpiration(midnight.Add(-time.Hour))
			t.SetAudience("x")
		}),
	} {
		if who, err := v.verify(token); !errors.Is(err, errTokenInvalid) || who.Role != "" {
			t.Errorf("%s: %v, %+v", name, err, who)
		}
	}
	if _, err := v.verify(forged(key, set("exp", midnight.Add(-time.Second)))); !errors.Is(err, errTokenExpired) {
		t.Errorf("expired: %v", err)
	}
}

// Whatever is done to one character of a token, it is a token no more.
func TestATokenWithAnotherCharacterIsNoToken(t *testing.T) {
	key := NewPrivateKey()
	good := forged(key, nil)
	v := verifierAt(midnight, key)
	for i := range len(good) {
		spoilt := []byte(good)
		if spoilt[i] = 'A'; good[i] == 'A' {
			spoilt[i] = 'B'
		}
		if _, err := v.verify(string(spoilt)); err == nil {
			t.Errorf("accepted with another byte %d of %d", i, len(good))
		}
	}
}

func TestAnIssuedTokenHasTheClaimsOfTheAPI(t *testing.T) {
	key := NewPrivateKey()
	parser := paseto.NewParserWithoutExpiryCheck()
	token, err := parser.ParseV4Public(key.Public().key,
		issued(t, key, Claims{Subject: "shop", Role: Service, Workspaces: []model.WorkspaceID{"a"}, TTL: time.Hour}, midnight), nil)
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(token.ClaimsJSON(), &claims); err != nil {
		t.Fatal(err)
	}
	id, _ := claims["jti"].(string)
	delete(claims, "jti")
	want := `map[aud:tenantpool-admin exp:2030-01-01T01:00:00Z iat:2030-01-01T00:00:00Z iss:tenantpool nbf:2030-01-01T00:00:00Z role:service sub:shop workspaces:[a]]`
	if got := fmt.Sprint(claims); got != want || len(id) < 20 {
		t.Errorf("jti %q, %s", id, got)
	}
}

func TestATokenThatNobodyCouldUseIsNotIssued(t *testing.T) {
	key := NewPrivateKey()
	many := make([]model.WorkspaceID, 1000)
	for i := range many {
		many[i] = model.WorkspaceID(fmt.Sprintf("customer-%d", i))
	}
	for want, c := range map[string]Claims{
		`the role "root" is unknown`:           {Subject: "a", Role: "root", TTL: time.Hour},
		`the role "" is unknown`:               {Subject: "a", TTL: time.Hour},
		`the role "public" is unknown`:         {Subject: "a", Role: public, TTL: time.Hour},
		"the subject must have":                {Role: Viewer, TTL: time.Hour},
		"all of them printable":                {Subject: "a\nb", Role: Viewer, TTL: time.Hour},
		"no # after a space":                   {Subject: "a #b", Role: Viewer, TTL: time.Hour},
		"service needs at least one workspace": {Subject: "a", Role: Service, TTL: time.Hour},
		"the role operator is not bound":       {Subject: "a", Role: Operator, TTL: time.Hour, Workspaces: []model.WorkspaceID{"a"}},
		`workspace id "a b"`:                   {Subject: "a", Role: Service, TTL: time.Hour, Workspaces: []model.WorkspaceID{"a", "a b"}},
		"not 0s":                               {Subject: "a", Role: Viewer},
		"not -1h0m0s":                          {Subject: "a", Role: Viewer, TTL: -time.Hour},
		"not 10000h0m0s":                       {Subject: "a", Role: Viewer, TTL: 10_000 * time.Hour},
		"name fewer workspaces":                {Subject: "a", Role: Service, TTL: time.Hour, Workspaces: many},
	} {
		if token, err := Issue(key, c); err == nil || !strings.Contains(err.Error(), want) || token != "" {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestATokenThatWasGoodExpiresAllTheSame(t *testing.T) {
	key := NewPrivateKey()
	token := issued(t, key, Claims{Subject: "anna", Role: Viewer, TTL: time.Hour}, midnight)
	v := verifierAt(midnight, key)
	for range 2 {
		if who, err := v.verify(token); err != nil || who.Subject != "anna" {
			t.Errorf("%+v, %v", who, err)
		}
	}
	if _, err := v.verify(token + "A"); !errors.Is(err, errTokenInvalid) {
		t.Errorf("another token than the one that is known: %v", err)
	}
	v.now = func() time.Time { return midnight.Add(time.Hour) }
	if _, err := v.verify(token); !errors.Is(err, errTokenExpired) {
		t.Errorf("known, but expired: %v", err)
	}
}

func TestOfManyTokensOnlySomeAreRemembered(t *testing.T) {
	key := NewPrivateKey()
	v := verifierAt(midnight, key)
	for i := range 3 * maxKnownTokens {
		token := issued(t, key, Claims{Subject: fmt.Sprint(i), Role: Viewer, TTL: time.Hour}, midnight)
		if who, err := v.verify(token); err != nil || who.Subject != fmt.Sprint(i) {
			t.Fatalf("%+v, %v", who, err)
		}
		if n := len(*v.known.byHash.Load()); n > maxKnownTokens {
			t.Fatalf("%d tokens are remembered", n)
		}
	}
}

// Claims that two readers may read as two things are no good, though they are signed.
func TestClaimsThatCanBeReadInTwoWaysAreRefused(t *testing.T) {
	key := NewPrivateKey()
	now := time.Now().UTC().Format(time.RFC3339)
	later := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	good := `{"iss":"tenantpool","aud":"tenantpool-admin","sub":"anna","role":"viewer","iat":"` + now + `","nbf":"` + now + `","exp":"` + later + `"`
	v := newVerifier(Options{Keys: []PublicKey{key.Public()}, Issuer: DefaultIssuer, Audience: DefaultAudience, MaxTokenTTL: MaxTTL})
	for claims, want := range map[string]error{
		good + `,"theirs":{"a":1}}`:                    nil,
		good + `,"role":"operator"}`:                   errTokenInvalid,
		good + `,"r\u006fle":"operator"}`:              errTokenInvalid,
		good + `,"theirs":"` + "\xff" + `"}`:           errTokenInvalid,
		good + `,"theirs":"\ud800"}`:                   errTokenInvalid,
		strings.Replace(good, "role", "Role", 1) + `}`: errTokenInvalid,
		good + `,"ROLE":"operator"}`:                   errTokenInvalid,
		good + `,"Workspaces":[]}`:                     errTokenInvalid,
	} {
		_, err := v.verify(signed(key, claims, footerOf(key)))
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", claims, err, want)
		}
	}
	id := key.Public().ID()
	for footer, want := range map[string]error{
		`{"kid":"` + id + `","theirs":1}`:                nil,
		`{"kid":"` + id + `","kid":"` + id + `"}`:        errTokenInvalid,
		`{"kid":"k4.pid.x","kid":"` + id + `"}`:          errTokenInvalid,
		`{"kid":"` + id + `","k\u0069d":"k4.pid.x"}`:     errTokenInvalid,
		`{"KID":"` + id + `"}`:                           errTokenInvalid,
		`{"kid":"` + id + `","Kid":"k4.pid.x"}`:          errTokenInvalid,
		`{"kid":"` + id + `","theirs":"` + "\xff" + `"}`: errTokenInvalid,
	} {
		if _, err := v.verify(signed(key, good+"}", footer)); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", footer, err, want)
		}
	}
}

// footerOf is the footer of the key's tokens.
func footerOf(key PrivateKey) string { return `{"kid":"` + key.Public().ID() + `"}` }

// signed is a token of these claims, byte for byte: what PASETO's section 4.3 has a
// signer do (v4.public).
func signed(key PrivateKey, claims, footer string) string {
	pieces := []string{publicHeader, claims, footer, ""}
	message := binary.LittleEndian.AppendUint64(nil, uint64(len(pieces)))
	for _, piece := range pieces {
		message = append(binary.LittleEndian.AppendUint64(message, uint64(len(piece))), piece...)
	}
	encode := base64.RawURLEncoding.EncodeToString
	return publicHeader + encode(append([]byte(claims), ed25519.Sign(key.key.ExportBytes(), message)...)) + "." + encode([]byte(footer))
}

func TestATokenThatIsGoodForLongerThanTheServerTakesIsRefused(t *testing.T) {
	key := NewPrivateKey()
	v := verifierAt(midnight, key)
	v.maxTTL = time.Hour
	at := func(issued, expires time.Duration) string {
		return forged(key, func(token *paseto.Token) {
			token.SetIssuedAt(midnight.Add(issued))
			token.SetExpiration(midnight.Add(expires))
		})
	}
	for token, want := range map[string]error{
		at(0, time.Hour):                        nil,
		at(0, time.Hour+time.Second):            errTokenTooLong,
		at(-time.Hour, time.Second):             errTokenTooLong, // although it ends soon
		at(30*time.Second, time.Hour):           nil,
		at(31*time.Second, time.Hour):           errTokenInvalid, // issued tomorrow
		at(-2*time.Hour, -time.Hour):            errTokenExpired,
		forged(key, without("iat")):             errTokenUndated,
		forged(key, set("jti", "a\nb")):         errTokenInvalid,
		forged(key, set("jti", "a long one")):   nil,
		forged(key, set("iat", "yesterday")):    errTokenInvalid,
		forged(NewPrivateKey(), without("iat")): errTokenInvalid,
	} {
		if _, err := v.verify(token); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	_, err := v.verify(at(0, 2*time.Hour))
	if want := "for 2h0m0s, and this server takes tokens of 1h0m0s at most"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
	for _, ttl := range []time.Duration{-time.Second, time.Millisecond, MaxTTL + 1} {
		_, err := New(newFakePool(), Options{Keys: []PublicKey{key.Public()}, MaxTokenTTL: ttl})
		if err == nil || !strings.Contains(err.Error(), fmt.Sprint(ttl)) {
			t.Errorf("%v: %v", ttl, err)
		}
	}
}
