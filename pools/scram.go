package pools

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/xdg-go/scram"
)

// scramLogins does scram-sha-256 in pgx's place, and remembers the keys.
//
// The keys come from the password, a salt and an iteration count, by some
// thousand rounds of a hash: half of what a login costs this process. Salt and
// count belong to the role, so they are the same for every database of the
// server and every login until the password is set anew; RFC 7677, section 4,
// lets a client keep the keys. pgx computes them each time and has no hook for
// that (5.12). So loginReader, which sits between the server and pgx, answers
// the server itself and shows pgx what comes after: the AuthenticationOk.
//
// It is worth it: with the cache a dial and its close take 12.3 ms here, without it 14.3;
// two at once 5.4 and 7.5 each, eight at once 4.1 and 5.3. The processor time of this
// process is half (0.8 to 1.1 against 1.6 to 2.1 ms), which others may then have.
//
// That must be no weaker than pgx. What it might judge differently is left to it:
// see rememberKeys and loginReader.begin.
type scramLogins struct {
	password string
	hash     scram.HashGeneratorFcn
	// client keeps the keys of each salt and count that it met. An exchange that
	// fails replaces it, or an impostor could fill the memory with salts.
	client atomic.Pointer[scram.Client]
}

const (
	scramPlain = "SCRAM-SHA-256"
	scramBound = "SCRAM-SHA-256-PLUS" // bound to the TLS connection
	// iterationsAtMost keeps an impostor from taking the processor for long, in
	// which no context is looked at. It is pgx's own bound.
	iterationsAtMost = 10_000_000
)

// scramHash is what keys are made with; tests count its sums.
var scramHash = scram.SHA256

// rememberKeys lets logins by the config pay for their keys once.
//
// It leaves to pgx: a policy that pgx enforces on its own exchange (PGREQUIREAUTH,
// PGCHANNELBINDING); and a password that SASLprep might change, or refuse (then
// PostgreSQL takes it as it is), which is none of ASCII.
func rememberKeys(config *pgx.ConnConfig) {
	ascii := !strings.ContainsFunc(config.Password, func(r rune) bool { return r > '~' })
	if config.RequireAuth != "" || config.ChannelBinding != "prefer" || config.Password == "" || !ascii {
		return
	}
	logins := &scramLogins{password: config.Password, hash: scramHash}
	logins.client.Store(logins.newClient())
	config.BuildFrontend = func(server io.Reader, to io.Writer) *pgproto3.Frontend {
		return pgproto3.NewFrontend(&loginReader{server: server, to: to, logins: logins}, to)
	}
}

// newClient returns a client without keys. PostgreSQL takes the user from the
// start of the session, and the iterations are the role's (scram_iterations).
func (l *scramLogins) newClient() *scram.Client {
	client, _ := l.hash.NewClientUnprepped("", l.password, "") // there is nothing to fail
	return client.WithMinIterations(1)
}

// forget drops the keys after an exchange that failed.
func (l *scramLogins) forget(client *scram.Client) { l.client.CompareAndSwap(client, l.newClient()) }

// loginReader is what pgx reads from. Its first Read does the exchange, if the
// server asks for one.
type loginReader struct {
	server io.Reader
	to     io.Writer
	logins *scramLogins  // nil when the exchange is over
	ahead  *bufio.Reader // what was read with the exchange; nil when pgx has it
	failed error
}

func (r *loginReader) Read(p []byte) (int, error) {
	if r.logins != nil {
		// Beyond its messages, of some hundred bytes, this need hold none.
		r.ahead = bufio.NewReaderSize(r.server, 1<<10)
		r.failed = r.login(r.logins)
		r.logins = nil
	}
	if r.failed != nil {
		return 0, r.failed
	}
	if r.ahead != nil && r.ahead.Buffered() > 0 {
		return r.ahead.Read(p)
	}
	r.ahead = nil
	return r.server.Read(p)
}

// errProtocol: pgx never sees such a message, as one that says that all is well
// before the server has proved that it knows the password.
var errProtocol = errors.New("the server broke off the scram-sha-256 login without an error: check that DB_HOST and DB_PORT are those of a PostgreSQL")

// login does the exchange. It returns without error and without a trace when pgx
// is to go on, with the first message or with the server's error.
func (r *loginReader) login(logins *scramLogins) error {
	var offer pgproto3.AuthenticationSASL
	kind, body, err := r.peek()
	if err != nil || kind != 'R' || offer.Decode(body) != nil {
		return err
	}
	client := logins.client.Load()
	mechanism, talk := begin(client, r.to, offer.AuthMechanisms)
	if talk == nil {
		return nil
	}
	defer func() {
		if !talk.Valid() {
			logins.forget(client)
		}
	}()
	r.take(body)

	first, err := talk.Step("")
	if err := errors.Join(err, r.send(&pgproto3.SASLInitialResponse{AuthMechanism: mechanism, Data: []byte(first)})); err != nil {
		return err
	}
	var challenge pgproto3.AuthenticationSASLContinue
	if refused, err := r.receive(&challenge); refused || err != nil {
		return err
	}
	if err := checkIterations(string(challenge.Data)); err != nil {
		return err
	}
	proof, err := talk.Step(string(challenge.Data))
	if err != nil {
		return fmt.Errorf("scram-sha-256: the server's challenge: %w", err)
	}
	if err := r.send(&pgproto3.SASLResponse{Data: []byte(proof)}); err != nil {
		return err
	}
	var final pgproto3.AuthenticationSASLFinal
	if refused, err := r.receive(&final); refused || err != nil {
		return err
	}
	if _, err := talk.Step(string(final.Data)); err != nil {
		return fmt.Errorf("scram-sha-256: the server does not prove that it knows the password: %w", err)
	}
	return nil
}

// begin chooses as pgx does: with TLS the exchange is bound to the server's
// certificate; when the server does not offer that, it is told that we would have,
// so that nobody in between can have taken the offer away. No conversation: this
// is for pgx.
func begin(client *scram.Client, to io.Writer, offered []string) (mechanism string, talk *scram.ClientConversation) {
	plain, bound := slices.Contains(offered, scramPlain), slices.Contains(offered, scramBound)
	switch to := to.(type) {
	case *exactConn:
		if plain && !bound {
			return scramPlain, client.NewConversation()
		}
	case *tls.Conn:
		state := to.ConnectionState()
		binding, err := scram.NewTLSServerEndpointBinding(&state)
		switch {
		case err != nil:
		case bound:
			return scramBound, client.NewConversationWithChannelBinding(binding)
		case plain:
			return scramPlain, client.NewConversationAdvertisingChannelBinding()
		}
	}
	return "", nil
}

// checkIterations looks at the server's r=nonce,s=salt,i=iterations before the
// keys are computed. Whatever else is wrong with it, the conversation finds.
func checkIterations(challenge string) error {
	for field := range strings.SplitSeq(challenge, ",") {
		count, ok := strings.CutPrefix(field, "i=")
		if !ok {
			continue
		}
		if n, err := strconv.Atoi(count); err != nil || n > iterationsAtMost {
			return fmt.Errorf("scram-sha-256: the server asks for %.20q iterations, more than %d: lower its scram_iterations and set the password again",
				count, iterationsAtMost)
		}
	}
	return nil
}

// peek shows the next message; the body only of one that belongs to
// authentication.
func (r *loginReader) peek() (kind byte, body []byte, err error) {
	const head = 5 // the kind and the length, which counts itself
	start, err := r.ahead.Peek(head)
	if err != nil {
		return 0, nil, err
	}
	if kind = start[0]; kind != 'R' {
		return kind, nil, nil
	}
	whole, err := r.ahead.Peek(1 + int(binary.BigEndian.Uint32(start[1:])))
	if err == nil && len(whole) < head {
		err = errProtocol
	}
	if err != nil {
		return 0, nil, err
	}
	return kind, whole[head:], nil
}

// take removes the message that was peeked.
func (r *loginReader) take(body []byte) { _, _ = r.ahead.Discard(5 + len(body)) }

// receive takes the message that must come next, or tells that it is an error,
// which pgx reads.
func (r *loginReader) receive(into pgproto3.BackendMessage) (refused bool, err error) {
	kind, body, err := r.peek()
	if err != nil || kind == 'E' {
		return kind == 'E', err
	}
	if kind != 'R' || into.Decode(body) != nil {
		return false, errProtocol
	}
	r.take(body)
	return false, nil
}

func (r *loginReader) send(message pgproto3.FrontendMessage) error {
	encoded, err := message.Encode(nil)
	if err == nil {
		_, err = r.to.Write(encoded)
	}
	return err
}
