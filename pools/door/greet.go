package door

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgproto3"
)

// greeter leads clients from their first byte to their log-in.
type greeter struct {
	lobby         *lobby
	authenticator authenticator
	certificates  *Certificates // nil: there is no TLS
	requireTLS    bool
	within        time.Duration
}

// refusedError is of a client that was told why.
type refusedError struct{ *pgproto3.ErrorResponse }

func (e refusedError) Error() string { return e.Message }

// greet returns a client that is logged in, or a cancel request. Of any other end the
// client was told. It reads not a byte beyond the start-up. The client is in the lobby.
func (g *greeter) greet(ctx context.Context, conn net.Conn) (*login, *cancelRequest, error) {
	_ = conn.SetDeadline(time.Now().Add(g.within))
	in, cancel, err := g.conversation(ctx, conn)
	if refused, ok := errors.AsType[refusedError](err); ok {
		to := conn
		if in != nil {
			to = in.Conn
		}
		_, _ = to.Write(encoded(refused.ErrorResponse))
	}
	if err != nil {
		return nil, nil, err
	}
	return in, cancel, conn.SetDeadline(time.Time{})
}

// conversation is greet without its frame. With an error, the login says where to tell it.
func (g *greeter) conversation(ctx context.Context, conn net.Conn) (*login, *cancelRequest, error) {
	in := &login{Conn: conn}
	with := peer{address: conn.RemoteAddr()}
	machine := startup{offersTLS: g.certificates != nil}
	var said *hello
	for said == nil {
		packet, refused, err := readPacket(in.Conn)
		if err != nil {
			return in, nil, err
		}
		if refused != nil {
			return in, nil, refusedError{refused}
		}
		step := machine.take(packet)
		if len(step.reply) > 0 {
			if _, err := in.Write(step.reply); err != nil {
				return in, nil, err
			}
		}
		switch {
		case step.refused != nil:
			return in, nil, refusedError{step.refused}
		case step.cancel != nil:
			return in, step.cancel, nil
		case step.upgrade:
			config := g.certificates.Config()
			encrypted := tls.Server(conn, config)
			if err := encrypted.HandshakeContext(ctx); err != nil {
				return in, nil, fmt.Errorf("TLS: %w", err)
			}
			state := encrypted.ConnectionState()
			with.tls, with.certificate = &state, g.certificates.leaf(config)
			in.Conn = encrypted
		}
		said = step.hello
	}
	in.minor, in.user, in.database, in.parameters = said.minor, said.user, said.database, said.parameters
	if g.requireTLS && with.tls == nil && !local(with.address) {
		return in, nil, refusedError{fatal(pgerrcode.InvalidAuthorizationSpecification, "this door asks for TLS: connect with sslmode=require or better")}
	}
	var err error
	in.grant, err = g.authenticate(ctx, in, with)
	return in, nil, err
}

// authenticate runs the exchange.
func (g *greeter) authenticate(ctx context.Context, in *login, with peer) (*Grant, error) {
	by := guesser{in.user, hostOf(with.address)}
	wait, ok := g.lobby.attempt(by, time.Now())
	if !ok {
		return nil, refusedError{fatal(pgerrcode.InvalidAuthorizationSpecification, fmt.Sprintf("too many log-ins of user %q from this address have failed: wait a little", in.user))}
	}
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	exchange := g.authenticator.begin(in.user, with)
	var answer []byte
	for {
		send, grant, err := exchange.next(answer)
		if err != nil {
			g.lobby.wrong(by, time.Now())
			return nil, err
		}
		var message []byte
		if send != nil {
			if message, err = send.Encode(nil); err != nil {
				return nil, err
			}
		}
		if grant != nil {
			ok := pgproto3.AuthenticationOk{}
			message, _ = ok.Encode(message)
		}
		if len(message) > 0 {
			if _, err := in.Write(message); err != nil {
				return nil, err
			}
		}
		if grant != nil {
			g.lobby.right(by)
			return grant, nil
		}
		if answer, err = readPassword(in.Conn); err != nil {
			return nil, err
		}
	}
}

// readPacket reads one packet of the start-up, without its length.
func readPacket(conn io.Reader) (packet []byte, refused *pgproto3.ErrorResponse, err error) {
	var length [packetHead]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, nil, err
	}
	size, refused := packetSize(length[:])
	if refused != nil {
		return nil, refused, nil
	}
	packet = make([]byte, size-packetHead)
	_, err = io.ReadFull(conn, packet)
	return packet, nil, err
}

// passwordAtMost is that of PostgreSQL (PG_MAX_AUTH_TOKEN_LENGTH in libpq/auth.h).
const passwordAtMost = 65_535

// readPassword reads a message 'p'. Any other one ends the start-up: a second StartupMessage
// at this point would change who is being authenticated.
func readPassword(conn io.Reader) ([]byte, error) {
	var start [head]byte
	if _, err := io.ReadFull(conn, start[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(start[1:])
	if start[0] != msgPassword || size < 4 || size > passwordAtMost {
		return nil, refusedError{fatal(pgerrcode.ProtocolViolation, "a password message was expected, of 65,535 bytes at most")}
	}
	body := make([]byte, size-4)
	_, err := io.ReadFull(conn, body)
	return body, err
}

// local tells whether a client is of this machine.
func local(address net.Addr) bool {
	switch a := address.(type) {
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	case *net.UnixAddr:
		return true
	}
	return address.Network() == "pipe"
}

// hostOf is an address without the port.
func hostOf(address net.Addr) string {
	if host, _, err := net.SplitHostPort(address.String()); err == nil {
		return host
	}
	return address.String()
}
