package door

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"fmt"
	"log/slog"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/xdg-go/scram"
)

// tokenUser is the name of those who come with a token.
const tokenUser = "token"

// network lets in who comes over the network.
type network struct {
	users  *Users
	tokens func(string) (Grant, error)
	log    *slog.Logger
}

func newAuthenticator(o Options) authenticator {
	return &network{users: o.Users, tokens: o.Tokens, log: o.Log}
}

func (n *network) begin(user string, with peer) exchange {
	if user == tokenUser && n.tokens != nil {
		return &tokenExchange{n, with, false}
	}
	return &passwordExchange{network: n, user: user, with: with}
}

// wrongPassword is the same whether there is such a user or not, as PostgreSQL's is.
func wrongPassword(user string) error {
	return refusedError{fatal(pgerrcode.InvalidPassword, fmt.Sprintf("password authentication failed for user %q", user))}
}

// tokenExchange asks for a token as a password in the clear.
type tokenExchange struct {
	*network
	with  peer
	asked bool
}

func (e *tokenExchange) next(body []byte) (pgproto3.BackendMessage, *Grant, error) {
	if !e.asked {
		if e.with.tls == nil && !local(e.with.address) {
			return nil, nil, refusedError{fatal(pgerrcode.InvalidAuthorizationSpecification, "a token must not cross a network in the clear: connect with sslmode=require or better")}
		}
		e.asked = true
		return &pgproto3.AuthenticationCleartextPassword{}, nil, nil
	}
	grant, err := e.tokens(string(bytes.TrimSuffix(body, []byte{0})))
	if err != nil {
		e.log.Info("A token was refused", "address", e.with.address.String(), "error", err.Error())
		return nil, nil, wrongPassword(tokenUser)
	}
	return nil, &grant, nil
}

const (
	mechanism     = "SCRAM-SHA-256"
	mechanismPlus = "SCRAM-SHA-256-PLUS"
)

// passwordExchange is SCRAM (RFC 5802, 7677; "SASL Authentication" in the protocol's
// documentation). A user that there is not goes through it as any other, in vain. The name in
// SCRAM's own messages means nothing: who it is was said in the StartupMessage.
type passwordExchange struct {
	*network
	user         string
	with         peer
	credential   *credential
	conversation *scram.ServerConversation
}

func (e *passwordExchange) next(body []byte) (pgproto3.BackendMessage, *Grant, error) {
	switch {
	case body == nil:
		return e.first()
	case e.conversation == nil:
		return e.initial(body)
	}
	final, err := e.conversation.Step(string(body))
	if err != nil || !e.conversation.Valid() || e.credential == nil {
		return nil, nil, wrongPassword(e.user)
	}
	grant := e.credential.grant
	return &pgproto3.AuthenticationSASLFinal{Data: []byte(final)}, &grant, nil
}

// first looks for the user.
func (e *passwordExchange) first() (pgproto3.BackendMessage, *Grant, error) {
	found, err := e.users.find(e.user)
	if err != nil {
		e.log.Warn("Who may come in cannot be found out", "error", err.Error())
		return nil, nil, refusedError{fatal(pgerrcode.CannotConnectNow, "who may come in cannot be found out at present; the door's log says why")}
	}
	if found != nil && found.certificate {
		if e.with.tls != nil && len(e.with.tls.VerifiedChains) > 0 && e.with.tls.PeerCertificates[0].Subject.CommonName == e.user {
			grant := found.grant
			return nil, &grant, nil
		}
		return nil, nil, refusedError{fatal(pgerrcode.InvalidAuthorizationSpecification, fmt.Sprintf("certificate authentication failed for user %q", e.user))}
	}
	e.credential = found
	offered := []string{mechanism}
	if e.with.tls != nil {
		offered = []string{mechanismPlus, mechanism}
	}
	return &pgproto3.AuthenticationSASL{AuthMechanisms: offered}, nil, nil
}

// initial begins SCRAM.
func (e *passwordExchange) initial(body []byte) (pgproto3.BackendMessage, *Grant, error) {
	var said pgproto3.SASLInitialResponse
	if err := said.Decode(body); err != nil {
		return nil, nil, refusedError{fatal(pgerrcode.ProtocolViolation, "this is no SASLInitialResponse")}
	}
	plus := said.AuthMechanism == mechanismPlus
	if !plus && said.AuthMechanism != mechanism || plus && e.with.tls == nil || !plus && bytes.HasPrefix(said.Data, []byte("p=")) {
		return nil, nil, refusedError{fatal(pgerrcode.ProtocolViolation, "the client selected a mechanism that was not offered")}
	}
	server, err := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) { return e.stored(), nil })
	if err != nil {
		return nil, nil, err
	}
	switch {
	case e.with.tls == nil:
		e.conversation = server.NewConversation()
	case plus:
		e.conversation = server.NewConversationWithChannelBindingRequired(endpoint(e.with.certificate))
	default:
		e.conversation = server.NewConversationWithChannelBinding(endpoint(e.with.certificate))
	}
	first, err := e.conversation.Step(string(said.Data))
	if err != nil || e.conversation.AuthzID() != "" {
		return nil, nil, wrongPassword(e.user)
	}
	return &pgproto3.AuthenticationSASLContinue{Data: []byte(first)}, nil, nil
}

// stored is what the proof is checked against. Nobody can prove anything of a user that
// there is not, whose salt is always the same.
func (e *passwordExchange) stored() scram.StoredCredentials {
	if e.credential != nil {
		return e.credential.scram
	}
	return scram.StoredCredentials{
		KeyFactors: scram.KeyFactors{Salt: string(saltOf(e.user)), Iters: scramIterations},
		StoredKey:  make([]byte, sha256.Size), ServerKey: make([]byte, sha256.Size),
	}
}

// endpoint is the binding to the door's own certificate (RFC 5929, section 4.1).
func endpoint(der []byte) scram.ChannelBinding {
	binding := scram.ChannelBinding{Type: scram.ChannelBindingTLSServerEndpoint}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return binding
	}
	switch certificate.SignatureAlgorithm {
	case x509.SHA384WithRSA, x509.ECDSAWithSHA384, x509.SHA384WithRSAPSS:
		sum := sha512.Sum384(der)
		binding.Data = sum[:]
	case x509.SHA512WithRSA, x509.ECDSAWithSHA512, x509.SHA512WithRSAPSS:
		sum := sha512.Sum512(der)
		binding.Data = sum[:]
	default:
		sum := sha256.Sum256(der)
		binding.Data = sum[:]
	}
	return binding
}
