package door

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgproto3"
)

// startup is the conversation before the authentication, packet by packet, as a state
// machine without I/O ("Start-up" and "SSL Session Encryption" in the protocol's
// documentation). Each question may be put once.
type startup struct {
	// offersTLS: there is a certificate. encrypted: TLS runs.
	offersTLS, encrypted bool
	askedTLS, askedGSS   bool
	over                 bool
}

// startupStep is what is to be done after a packet: send reply, and then what is set.
type startupStep struct {
	reply   []byte
	upgrade bool // to TLS
	cancel  *cancelRequest
	hello   *hello
	refused *pgproto3.ErrorResponse
}

// hello is a StartupMessage.
type hello struct {
	minor          int
	user, database string
	parameters     []parameter
}

// cancelRequest is of a client that is logged in, by the key that it was given.
type cancelRequest struct {
	pid    uint32
	secret []byte
}

const (
	// packetAtMost is that of PostgreSQL (MAX_STARTUP_PACKET_LENGTH in libpq/pqcomm.h).
	packetAtMost = 10_000
	packetHead   = 4
	packetLeast  = 8

	codeCancel = 80877102
	codeTLS    = 80877103
	codeGSS    = 80877104
	newest     = 2 // minor version
)

// packetSize is the size of the packet whose first four bytes are these, itself included.
func packetSize(head []byte) (int, *pgproto3.ErrorResponse) {
	size := binary.BigEndian.Uint32(head)
	if size < packetLeast || size > packetAtMost {
		return 0, fatal(pgerrcode.ProtocolViolation, fmt.Sprintf("the first packet says that it has %d bytes: it must have %d to %d; is this a client of PostgreSQL?", size, packetLeast, packetAtMost))
	}
	return int(size), nil
}

// take handles a packet, without its length.
func (s *startup) take(packet []byte) startupStep {
	if s.over || len(packet) < packetLeast-packetHead {
		return startupStep{refused: fatal(pgerrcode.ProtocolViolation, "the start-up is over, or its packet too short")}
	}
	code, rest := binary.BigEndian.Uint32(packet), packet[4:]
	switch {
	case code == codeTLS:
		return s.tls(rest)
	case code == codeGSS:
		if s.askedGSS || s.encrypted || len(rest) != 0 {
			return s.end(startupStep{refused: fatal(pgerrcode.ProtocolViolation, "GSSAPI encryption was asked for twice, or under TLS")})
		}
		s.askedGSS = true
		return startupStep{reply: []byte{'N'}}
	case code == codeCancel:
		if len(rest) < 4+4 || len(rest) > 4+256 {
			return s.end(startupStep{refused: fatal(pgerrcode.ProtocolViolation, "the key of a cancel request must have 4 to 256 bytes")})
		}
		return s.end(startupStep{cancel: &cancelRequest{binary.BigEndian.Uint32(rest), bytes.Clone(rest[4:])}})
	case code>>16 != 3:
		return s.end(startupStep{refused: fatal(pgerrcode.FeatureNotSupported, fmt.Sprintf("unsupported frontend protocol %d.%d: the door speaks 3.0 to 3.%d", code>>16, code&0xffff, newest))})
	}
	return s.end(s.hello(int(code&0xffff), rest))
}

func (s *startup) end(step startupStep) startupStep {
	s.over = true
	return step
}

func (s *startup) tls(rest []byte) startupStep {
	switch {
	case s.askedTLS || s.encrypted || len(rest) != 0:
		return s.end(startupStep{refused: fatal(pgerrcode.ProtocolViolation, "TLS was asked for twice")})
	case !s.offersTLS:
		s.askedTLS = true
		return startupStep{reply: []byte{'N'}}
	}
	s.askedTLS, s.encrypted = true, true
	return startupStep{reply: []byte{'S'}, upgrade: true}
}

// hello reads a StartupMessage.
func (s *startup) hello(minor int, rest []byte) startupStep {
	refuse := func(code, format string, args ...any) startupStep {
		return startupStep{refused: fatal(code, fmt.Sprintf(format, args...))}
	}
	pairs, ok := pairsOf(rest)
	if !ok {
		return refuse(pgerrcode.ProtocolViolation, "the StartupMessage is not as PostgreSQL's protocol has it")
	}
	h := &hello{minor: min(minor, newest)}
	if h.minor == 1 {
		h.minor = 0 // there is no 3.1
	}
	var unknown []string
	for _, p := range pairs {
		switch {
		case p.name == "user":
			h.user = p.value
		case p.name == "database":
			h.database = p.value
		case p.name == "replication":
			if on := strings.ToLower(p.value); on != "false" && on != "off" && on != "no" && on != "0" {
				return refuse(pgerrcode.FeatureNotSupported, "replication is not served here: connect to PostgreSQL itself")
			}
		case p.name == "options":
			set, err := optionsOf(p.value)
			if err != nil {
				return refuse(pgerrcode.SyntaxError, "the options of the connection: %v", err)
			}
			h.parameters = append(h.parameters, set...)
		case strings.HasPrefix(p.name, "_pq_."):
			unknown = append(unknown, p.name)
		default:
			h.parameters = append(h.parameters, p)
		}
	}
	if h.user == "" {
		return refuse(pgerrcode.InvalidAuthorizationSpecification, "no user name is specified in the StartupMessage")
	}
	if h.database == "" {
		h.database = h.user
	}
	for _, p := range h.parameters {
		if why := unsettable(p); why != "" {
			return refuse(pgerrcode.InvalidParameterValue, "parameter %q cannot be set at the start: %s", p.name, why)
		}
	}
	h.parameters = lastOfEach(h.parameters)
	step := startupStep{hello: h}
	if minor != h.minor || len(unknown) > 0 {
		negotiate := pgproto3.NegotiateProtocolVersion{NewestMinorProtocol: 3<<16 | uint32(h.minor), UnrecognizedOptions: unknown}
		step.reply, _ = negotiate.Encode(nil)
	}
	return step
}

// pairsOf splits names and values, each ended by a zero byte, and a last zero byte.
func pairsOf(rest []byte) (pairs []parameter, ok bool) {
	for len(rest) > 1 {
		name, after, ok1 := cutString(rest)
		value, after2, ok2 := cutString(after)
		if !ok1 || !ok2 || len(name) == 0 {
			return nil, false
		}
		pairs = append(pairs, parameter{string(name), string(value)})
		rest = after2
	}
	return pairs, len(rest) == 1 && rest[0] == 0
}

// optionsOf reads what libpq calls options: "-c name=value" and "--name=value", between
// white space, which a backslash takes its meaning from (pg_split_opts in
// utils/init/postinit.c).
func optionsOf(line string) (set []parameter, err error) {
	words := splitOptions(line)
	for i := 0; i < len(words); i++ {
		word := words[i]
		switch {
		case word == "-c" && i+1 < len(words):
			i++
			word = words[i]
		case strings.HasPrefix(word, "-c") && len(word) > 2:
			word = word[2:]
		case strings.HasPrefix(word, "--") && len(word) > 2:
			word = word[2:]
		default:
			return nil, fmt.Errorf("%q is not supported: use -c name=value", word)
		}
		name, value, found := strings.Cut(word, "=")
		if !found || name == "" {
			return nil, fmt.Errorf("%q is not name=value", word)
		}
		set = append(set, parameter{strings.ReplaceAll(name, "-", "_"), value})
	}
	return set, nil
}

func splitOptions(line string) (words []string) {
	var word []byte
	inWord := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\' && i+1 < len(line):
			i++
			word, inWord = append(word, line[i]), true
		case c == ' ' || '\t' <= c && c <= '\r':
			if inWord {
				words = append(words, string(word))
			}
			word, inWord = word[:0], false
		default:
			word, inWord = append(word, c), true
		}
	}
	if inWord {
		words = append(words, string(word))
	}
	return words
}

// notAtTheStart are settings that are not the client's to begin with.
var notAtTheStart = map[string]string{
	"role":                      "all clients of a workspace have the role that the pool connects as (see the workspace's settings)",
	"session_authorization":     "all clients of a workspace have the role that the pool connects as",
	"is_superuser":              "it follows from the role",
	"local_preload_libraries":   "it loads code for other clients, too",
	"session_preload_libraries": "it loads code for other clients, too",
	"ignore_system_indexes":     "it cannot be changed in a session that others share",
	"post_auth_delay":           "it cannot be changed in a session that others share",
	"jit_debugging_support":     "it cannot be changed in a session that others share",
	"jit_profiling_support":     "it cannot be changed in a session that others share",
	"log_connections":           "it cannot be changed in a session that others share",
	"log_disconnections":        "it cannot be changed in a session that others share",
}

func unsettable(p parameter) (why string) {
	name := strings.ToLower(p.name)
	if why := notAtTheStart[name]; why != "" {
		return why
	}
	for i := range len(name) {
		c := name[i]
		letter := 'a' <= c && c <= 'z' || c == '_'
		digit := '0' <= c && c <= '9'
		if !letter && (i == 0 || !digit && c != '.' && c != '$') {
			return "this is no name of a setting"
		}
	}
	if len(name) == 0 || len(name) > 127 {
		return "this is no name of a setting"
	}
	return ""
}

// lastOfEach keeps, of each setting, the last value, as PostgreSQL does.
func lastOfEach(all []parameter) (kept []parameter) {
	for i, p := range all {
		later := false
		for _, q := range all[i+1:] {
			later = later || strings.EqualFold(p.name, q.name)
		}
		if !later {
			kept = append(kept, p)
		}
	}
	return kept
}
