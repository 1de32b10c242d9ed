package door

import (
	"crypto/tls"
	"net"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tenantpool/tenantpool/model"
)

// authenticator knows who may come in. Its methods may be called from any goroutine.
type authenticator interface {
	// begin starts the exchange with one client. It does not block.
	begin(user string, with peer) exchange
}

// peer is what is known of a client besides what it says.
type peer struct {
	address net.Addr
	// tls is nil on a plain connection.
	tls *tls.ConnectionState
	// certificate is the one that the door has shown under TLS, in DER, for channel binding.
	certificate []byte
}

// exchange is the conversation in which one client shows who it is.
type exchange interface {
	// next takes the body of the client's message 'p', nil at the first call, and returns
	// what to send: an authentication request (or AuthenticationSASLFinal), or nil for
	// nothing. With a grant the client is in, after that message, and AuthenticationOk is
	// the caller's to send. An error ends it; what it says to the client is safe to show and
	// the same for every wrong credential (SQLSTATE 28P01). It may block, as for a query.
	next(body []byte) (send pgproto3.BackendMessage, grant *Grant, err error)
}

// login is what the start-up has found out about a client. AuthenticationOk was sent, and
// nothing after it.
type login struct {
	net.Conn // or TLS above it
	// minor is the protocol's: 3.minor.
	minor          int
	user, database string
	// parameters are the settings that the client begins with: those of the
	// StartupMessage and of its options, in order, checked by name.
	parameters []parameter
	grant      *Grant
	// workspace is set for a client of this process, which cannot reach another, nor the
	// console.
	workspace model.WorkspaceID
}

// parameter is a setting of a session, or what the server reports of one.
type parameter struct{ name, value string }
