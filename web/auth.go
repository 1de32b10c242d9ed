package web

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/tenantpool/tenantpool/model"
)

// access is who is let in. It is never changed, but replaced.
type access struct {
	verifier     verifier
	metricsToken string
}

func newAccess(o Options) (*access, error) {
	if len(o.Keys) == 0 {
		return nil, errors.New("admin server: there is no public key, so nobody could be let in: make a pair with tenantpool keygen")
	}
	for _, key := range o.Keys {
		if key.id == "" {
			return nil, errors.New("admin server: a public key is empty: read it with ParsePublicKeys")
		}
	}
	if n := len(o.MetricsToken); n > 0 && n < MinMetricsToken {
		return nil, fmt.Errorf("admin server: the metrics token has %d bytes, at least %d are needed", n, MinMetricsToken)
	}
	return &access{newVerifier(o), o.MetricsToken}, nil
}

// SetAccess replaces the keys and the metrics token, from the next request on. If they
// are no good it is an error, and nothing changes. Requests under way go on; the event
// streams of a key that is not accepted any more end within 15 s.
func (s *Server) SetAccess(keys []PublicKey, metricsToken string) error {
	o := s.options
	o.Keys, o.MetricsToken = keys, metricsToken
	fresh, err := newAccess(o)
	if err == nil {
		s.access.Store(fresh)
	}
	return err
}

// Bearer is who a good token is for.
type Bearer struct {
	Subject string
	Role    Role
	// Workspaces are those of the role Service.
	Workspaces []model.WorkspaceID
	// Expires is when the token ends; zero: never.
	Expires time.Time
}

// CheckToken tells who a token is for, as the API does: it is signed with one of the keys,
// not expired and not revoked. The error says what is wrong with it, and is safe to log.
func (s *Server) CheckToken(token string) (Bearer, error) {
	who, err := s.access.Load().verifier.verify(token)
	if err != nil {
		return Bearer{}, err
	}
	return Bearer{who.Subject, who.Role, who.Workspaces, who.Expires}, nil
}

// checkRoutes refuses a route that nobody has said who may call.
func checkRoutes(routes []route) error {
	for _, r := range routes {
		name := r.method + " " + r.path
		if len(r.roles) == 0 {
			return fmt.Errorf("admin server: route %s has no roles", name)
		}
		for _, role := range r.roles {
			if role != public && !slices.Contains(roles, role) {
				return fmt.Errorf("admin server: route %s has the unknown role %q", name, role)
			}
		}
		if slices.Contains(r.roles, public) && len(r.roles) > 1 {
			return fmt.Errorf("admin server: route %s is public and has other roles too", name)
		}
		if r.serve == nil {
			return fmt.Errorf("admin server: route %s has no handler", name)
		}
	}
	return nil
}

// authorized is the only way from a route to its handler.
func (s *Server) authorized(r route) echo.HandlerFunc {
	return func(c echo.Context) error {
		c.Set(routeKey, r.path)
		if body := c.Request().Body; body != nil && body != http.NoBody {
			c.Request().Body = http.MaxBytesReader(c.Response().Writer, body, r.maxBody(s.options.Query))
		}
		if !slices.Contains(r.roles, public) {
			who, err := s.authenticate(c, r)
			if err != nil {
				return err
			}
			c.Set(identityKey, who)
			if !slices.Contains(r.roles, who.Role) {
				return &failure{status: http.StatusForbidden, message: "your role may not do this"}
			}
		}
		if most := r.maxBody(s.options.Query); r.method == http.MethodPost && c.Request().ContentLength > most {
			return &http.MaxBytesError{Limit: most}
		}
		return r.serve(s, c)
	}
}

func (s *Server) authenticate(c echo.Context, r route) (identity, error) {
	headers := c.Request().Header.Values(echo.HeaderAuthorization)
	if len(headers) == 0 {
		return identity{}, unauthorized(c, &failure{message: "Authorization header is required", alone: true})
	}
	scheme, token, _ := strings.Cut(headers[0], " ")
	if len(headers) > 1 || !strings.EqualFold(scheme, "Bearer") {
		return identity{}, unauthorized(c, &failure{message: errTokenInvalid.Error()})
	}
	token = strings.TrimSpace(token)
	if r.path == metricsPath && s.metricsToken(token) {
		return identity{Subject: "metrics token", Role: Viewer}, nil
	}
	who, err := s.access.Load().verifier.verify(token)
	if err != nil {
		c.Set(refusedKey, who)
		return identity{}, unauthorized(c, &failure{message: err.Error()})
	}
	return who, nil
}

func unauthorized(c echo.Context, why *failure) error {
	c.Response().Header().Set(echo.HeaderWWWAuthenticate, "Bearer")
	why.status = http.StatusUnauthorized
	return why
}

// metricsToken takes as long for a good guess as for a bad one.
func (s *Server) metricsToken(token string) bool {
	metricsToken := s.access.Load().metricsToken
	if metricsToken == "" {
		return false
	}
	got, want := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(metricsToken))
	return subtle.ConstantTimeCompare(got[:], want[:]) == 1
}

// The keys of what a request carries along.
const (
	identityKey  = "tenantpool.identity"
	refusedKey   = "tenantpool.refused" // whose token was refused, for the log
	requestIDKey = "tenantpool.requestID"
	routeKey     = "tenantpool.route" // its path, without a prefix
	workspaceKey = "tenantpool.workspace"
	sqlStateKey  = "tenantpool.sqlstate" // what the database server refused it with
)

// identity is who sends the request; the zero value on a public route.
func (s *Server) identity(c echo.Context) identity {
	who, _ := c.Get(identityKey).(identity)
	return who
}

// knownTokens remembers the tokens that were found good, because to check a
// signature costs more than to answer. The map belongs to one set of keys. Only good
// tokens are kept, and of each only the hash.
//
// There is no lock: the map is never changed, but replaced.
type knownTokens struct {
	byHash atomic.Pointer[map[tokenHash]identity]
}

type tokenHash [sha256.Size]byte

// maxKnownTokens bounds the memory; beyond it, all are checked anew.
const maxKnownTokens = 256

func (k *knownTokens) get(hash tokenHash) (identity, bool) {
	known := k.byHash.Load()
	if known == nil {
		return identity{}, false
	}
	who, ok := (*known)[hash]
	return who, ok
}

// add may forget what others add at the same moment: they are checked again.
func (k *knownTokens) add(hash tokenHash, who identity) {
	before := k.byHash.Load()
	after := make(map[tokenHash]identity)
	if before != nil && len(*before) < maxKnownTokens {
		after = maps.Clone(*before)
	}
	after[hash] = who
	k.byHash.CompareAndSwap(before, &after)
}
