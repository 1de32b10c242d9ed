package web

import (
	"cmp"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"

	"aidanwoods.dev/go-paseto"
	jsonv2 "github.com/go-json-experiment/json"

	"github.com/tenantpool/tenantpool/model"
)

// The claims that say whose tokens these are and for whom, unless Options say
// otherwise.
const (
	DefaultIssuer   = "tenantpool"
	DefaultAudience = "tenantpool-admin"
)

// The bounds of how long a token is good. A server takes tokens of at most
// Options.MaxTokenTTL, which is DefaultMaxTokenTTL unless it says otherwise.
const (
	MinTTL             = time.Second
	DefaultMaxTokenTTL = 30 * 24 * time.Hour
	MaxTTL             = 366 * 24 * time.Hour
)

// clockLeeway is how far the issuer's clock may be ahead: a token is good that
// long before its not-before time. At its expiry it has none.
const clockLeeway = 30 * time.Second

const (
	maxToken   = 8 << 10 // bytes
	maxSubject = 128     // bytes
	maxFooter  = 256     // bytes, of base64
)

// Claims are what a token says.
type Claims struct {
	// Subject is who gets the token. It stands in the audit log.
	Subject string
	Role    Role
	// Workspaces are those in which the role Service may run statements. Only
	// that role has any, and it has at least one.
	Workspaces []model.WorkspaceID
	// TTL is how long the token is good, from MinTTL to MaxTTL.
	TTL time.Duration
	// Issuer and Audience are DefaultIssuer and DefaultAudience when empty.
	Issuer, Audience string
}

func (c Claims) validate() error {
	switch {
	case !slices.Contains(roles, c.Role):
		return fmt.Errorf("the role %q is unknown: it must be viewer, operator or service", c.Role)
	case !goodSubject(c.Subject):
		return fmt.Errorf("the subject must have 1 to %d bytes, all of them printable, no space around them and no # after a space: the audit log and the file of revocations hold it", maxSubject)
	case c.Role == Service && len(c.Workspaces) == 0:
		return errors.New("the role service needs at least one workspace: it may run statements in those only")
	case c.Role != Service && len(c.Workspaces) > 0:
		return fmt.Errorf("the role %s is not bound to workspaces: name them for the role service only", c.Role)
	case c.TTL < MinTTL || c.TTL > MaxTTL:
		return fmt.Errorf("a token may be valid for %v to %v, not %v", MinTTL, MaxTTL, c.TTL)
	}
	for _, id := range c.Workspaces {
		if err := id.Validate(); err != nil {
			return err
		}
	}
	return nil
}

// goodSubject: a space around it would not be seen, in a log or in the file of revocations,
// and what looks like a comment could not be revoked there.
func goodSubject(s string) bool {
	return s != "" && len(s) <= maxSubject && printable(s) && strings.TrimSpace(s) == s && !strings.Contains(" "+s, comment)
}

// goodTokenID: a token need not have one.
func goodTokenID(s string) bool { return len(s) <= maxTokenID && printable(s) }

// printable text can stand in a log, and in the file of revocations.
func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// Issue signs a token (PASETO v4.public), good from now on.
func Issue(key PrivateKey, c Claims) (string, error) {
	return issue(key, c, time.Now())
}

func issue(key PrivateKey, c Claims, now time.Time) (string, error) {
	if err := c.validate(); err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	t := paseto.NewToken()
	t.SetIssuer(cmp.Or(c.Issuer, DefaultIssuer))
	t.SetAudience(cmp.Or(c.Audience, DefaultAudience))
	t.SetSubject(c.Subject)
	t.SetIssuedAt(now)
	t.SetNotBefore(now)
	t.SetExpiration(now.Add(c.TTL))
	t.SetJti(rand.Text())
	t.SetString("role", string(c.Role))
	if len(c.Workspaces) > 0 {
		if err := t.Set("workspaces", c.Workspaces); err != nil {
			return "", fmt.Errorf("token: %w", err)
		}
	}
	footer, err := json.Marshal(tokenFooter{key.Public().ID()})
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	t.SetFooter(footer)
	token := t.V4Sign(key.key, nil)
	if len(token) > maxToken {
		return "", fmt.Errorf("token: it would have %d bytes, and a server takes %d: name fewer workspaces", len(token), maxToken)
	}
	return token, nil
}

type tokenFooter struct {
	KeyID string `json:"kid"`
}

// Inspected is what a token says of itself, which nobody has vouched for.
type Inspected struct {
	ID, Subject     string
	Role            Role
	Workspaces      []model.WorkspaceID
	Issued, Expires time.Time
}

// InspectToken reads a token without a key, and so without checking it. Its errors
// do not repeat any of it.
func InspectToken(token string) (Inspected, error) {
	raw, ok := signedClaims(token)
	if !ok || len(token) > maxToken {
		return Inspected{}, errors.New("it is not a token of this kind, which begins with " + publicHeader + " and has four parts")
	}
	var c identity
	if err := readClaims(raw, &c); err != nil || !goodSubject(c.Subject) || !goodTokenID(c.TokenID) {
		return Inspected{}, errors.New("it is damaged, or no token of this server's kind")
	}
	return Inspected{c.TokenID, c.Subject, c.Role, c.Workspaces, c.Issued, c.Expires}, nil
}

// Revocation is the line that revokes the token in the file of Revocations: by its id or,
// if that is not of a token of Issue, by its subject, with all that it holds until now.
func (i Inspected) Revocation() string {
	if ownTokenID.MatchString(i.ID) {
		return "token " + i.ID
	}
	return fmt.Sprintf("subject %s %s", time.Now().UTC().Format(time.RFC3339), i.Subject)
}

const publicHeader = "v4.public."

// signedClaims are the claims as they were signed: what the library returns it has read
// already, the last of several of one name.
func signedClaims(token string) (raw []byte, ok bool) {
	body, found := strings.CutPrefix(token, publicHeader)
	payload, footer, _ := strings.Cut(body, ".")
	raw, err := base64.RawURLEncoding.DecodeString(payload)
	if !found || strings.Contains(footer, ".") || err != nil || len(raw) < ed25519.SignatureSize {
		return nil, false
	}
	return raw[:len(raw)-ed25519.SignatureSize], true
}

// readClaims reads strictly, as bodies are read, except that a name which T has not is
// passed over. One that T has in another case is refused: another reader takes it.
func readClaims[T any](raw []byte, into *T) error {
	if err := jsonv2.Unmarshal(raw, into); err != nil {
		return err
	}
	var anyCase T
	if err := jsonv2.Unmarshal(raw, &anyCase, jsonv2.MatchCaseInsensitiveNames(true)); err != nil {
		return err
	}
	if !reflect.DeepEqual(*into, anyCase) {
		return errTokenInvalid
	}
	return nil
}

// identity is who sends a request: what a server reads of the token.
type identity struct {
	Issuer     string              `json:"iss"`
	Audience   string              `json:"aud"`
	Subject    string              `json:"sub"`
	Role       Role                `json:"role"`
	Workspaces []model.WorkspaceID `json:"workspaces"`
	// TokenID is the token's; empty: it has none.
	TokenID   string    `json:"jti"`
	Issued    time.Time `json:"iat"`
	NotBefore time.Time `json:"nbf"`
	// Expires ends what streams, too; zero: never.
	Expires time.Time `json:"exp"`
	// KeyID is of the key that has signed the token.
	KeyID string `json:"-"`
}

// serves tells whether the token names the workspace.
func (i identity) serves(id model.WorkspaceID) bool { return slices.Contains(i.Workspaces, id) }

// Why a token is refused. Of one that is not valid nobody learns more: whoever made
// it knows the rest. The other reasons are told of tokens only that are good in
// every other way.
var (
	errTokenInvalid = errors.New("the token is not valid")
	errTokenExpired = errors.New("the token has expired")
	errTokenRevoked = errors.New("the token has been revoked")
	errTokenUndated = errors.New("the token does not say when it was issued: it must have the claim iat")
	errTokenTooLong = errors.New("the token is valid for too long")
)

// verifier tells whose a token is.
type verifier struct {
	keys             map[string]PublicKey // by id
	issuer, audience string
	maxTTL           time.Duration
	revocations      *Revocations
	log              *slog.Logger
	now              func() time.Time
	known            *knownTokens
}

func newVerifier(o Options) verifier {
	v := verifier{
		keys: make(map[string]PublicKey), issuer: o.Issuer, audience: o.Audience, maxTTL: o.MaxTokenTTL,
		revocations: o.Revocations, log: o.Log, now: time.Now, known: &knownTokens{},
	}
	for _, key := range o.Keys {
		v.keys[key.id] = key
	}
	return v
}

// verify returns one of the errors above for a token that is no good, and whose it is if
// its signature is.
func (v verifier) verify(token string) (identity, error) {
	if len(token) > maxToken {
		return identity{}, errTokenInvalid
	}
	hash := tokenHash(sha256.Sum256([]byte(token)))
	who, ok := v.known.get(hash)
	if !ok {
		var err error
		if who, err = v.check(token); err != nil {
			return who, err
		}
		v.known.add(hash, who)
	}
	switch {
	case !v.now().Before(who.Expires):
		return who, errTokenExpired
	case v.revoked(who):
		return who, errTokenRevoked
	}
	return who, nil
}

// revoked tells whether a token that was good has since been revoked.
func (v verifier) revoked(who identity) bool { return v.revocations.holds(who, v.log) }

// withdrawn tells whether a token that was good is revoked, or its key not accepted any
// more.
func (v verifier) withdrawn(who identity) bool {
	_, accepted := v.keys[who.KeyID]
	return who.KeyID != "" && !accepted || v.revoked(who)
}

// check does the work of verify; the token may have expired.
func (v verifier) check(token string) (identity, error) {
	key, ok := v.keys[keyOf(token)]
	if !ok {
		return identity{}, errTokenInvalid
	}
	parser := paseto.NewParserWithoutExpiryCheck() // it is checked below, by our clock
	if _, err := parser.ParseV4Public(key.key, token, nil); err != nil {
		return identity{}, errTokenInvalid
	}
	var who identity
	raw, ok := signedClaims(token)
	if !ok || readClaims(raw, &who) != nil {
		return identity{}, errTokenInvalid
	}
	switch {
	case who.Issuer != v.issuer, who.Audience != v.audience,
		!slices.Contains(roles, who.Role), !goodSubject(who.Subject),
		who.Role != Service && len(who.Workspaces) > 0,
		who.NotBefore.IsZero(), who.Expires.IsZero(), !goodTokenID(who.TokenID),
		v.now().Add(clockLeeway).Before(who.NotBefore),
		v.now().Add(clockLeeway).Before(who.Issued):
		return identity{}, errTokenInvalid
	}
	who.KeyID = key.id
	if who.Issued.IsZero() {
		return who, errTokenUndated
	}
	if ttl := who.Expires.Sub(who.Issued); ttl > v.maxTTL {
		return who, fmt.Errorf("%w: for %v, and this server takes tokens of %v at most", errTokenTooLong, ttl, v.maxTTL)
	}
	return who, nil
}

// keyOf is the key id in the token's footer, which nobody has vouched for yet:
// it only picks among the keys that are accepted.
func keyOf(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 4 || len(parts[3]) > maxFooter {
		return ""
	}
	parser := paseto.NewParserWithoutExpiryCheck()
	raw, err := parser.UnsafeParseFooter(paseto.V4Public, token)
	if err != nil {
		return ""
	}
	var footer tokenFooter
	if readClaims(raw, &footer) != nil {
		return ""
	}
	return footer.KeyID
}
