package door

import (
	"maps"
	"sync/atomic"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools/socket"
)

// profile is how the sessions of a workspace begin whose clients ask for the same settings:
// so most clients need no server to log in.
type profile struct {
	wanted   *settings
	reported reported
	until    time.Time
}

// profiles remembers some for a moment. It is never changed: whoever learns one more puts
// another in its place.
type profiles struct {
	known atomic.Pointer[map[profileKey]profile]
}

type profileKey struct {
	workspace  model.WorkspaceID
	parameters string
}

const (
	profilesAtMost = 1024
	profileFor     = time.Minute
)

func (p *profiles) find(key profileKey) (profile, bool) {
	known := p.known.Load()
	if known == nil {
		return profile{}, false
	}
	found, ok := (*known)[key]
	return found, ok && time.Now().Before(found.until)
}

func (p *profiles) learn(key profileKey, one profile) {
	known := p.known.Load()
	more := make(map[profileKey]profile)
	if known != nil {
		more = maps.Clone(*known)
	}
	for other, its := range more {
		if len(more) < profilesAtMost && time.Now().Before(its.until) {
			break
		}
		delete(more, other)
	}
	more[key] = one
	p.known.CompareAndSwap(known, &more) // or somebody else has just learned one
}

func newSession(d *Door, in *login, c *client) *session {
	s := &session{door: d, in: in, me: c, id: c.workspace, pooling: in.grant.Pooling, customs: customsOf(in.parameters)}
	if s.pooling == 0 {
		s.pooling = d.options.Pooling
	}
	s.gate.init()
	s.stream = socket.New(in.Conn)
	return s
}

// begin tells the client how its session begins.
func (s *session) begin() *pgproto3.ErrorResponse {
	key := profileKey{s.id, ""}
	var asked []parameter
	application := ""
	for _, p := range s.in.parameters {
		if p.name == applicationName {
			application = p.value
			s.me.application.Store(&p.value)
			if s.door.introduces {
				continue
			}
		}
		asked = append(asked, p)
		key.parameters += p.name + "\x00" + p.value + "\x00"
	}
	known, ok := s.door.profiles.find(key)
	if !ok {
		var refused *pgproto3.ErrorResponse
		if known, refused = s.learnProfile(asked); refused != nil {
			return refused
		}
		s.door.profiles.learn(key, known)
	}
	s.wanted, s.begins, s.reported = known.wanted, known.wanted, known.reported
	var welcome []byte
	for _, p := range s.reported {
		if p.name == applicationName && s.door.introduces {
			p.value = application
		}
		welcome = appendParameter(welcome, p)
	}
	key32 := pgproto3.BackendKeyData{ProcessID: s.me.id, SecretKey: s.me.secret}
	welcome, err := key32.Encode(welcome)
	if err != nil {
		return fatal(pgerrcode.InternalError, err.Error())
	}
	_ = s.write(appendReady(welcome, statusIdle)) // if it is gone, that is found out next
	return nil
}

// learnProfile has a server take the settings, and say what it makes of them.
func (s *session) learnProfile(asked []parameter) (profile, *pgproto3.ErrorResponse) {
	s.reported = nil
	s.wanted = settingsAsked(asked)
	if refused := s.needLease(); refused != nil {
		refused.Severity, refused.SeverityUnlocalized = "FATAL", "FATAL"
		return profile{}, refused
	}
	if s.wanted != nil {
		if err := s.learnSettings(s.lease); err != nil {
			s.lease.broken = true
			s.release(false)
			return profile{}, settingsRefusal(err)
		}
	}
	learned := profile{s.wanted, s.lease.memory.reported, time.Now().Add(profileFor)}
	s.release(true)
	return learned, nil
}
