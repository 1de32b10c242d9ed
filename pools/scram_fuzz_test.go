package pools

import (
	"bytes"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
)

// impostorNonce stands in an input where the client's nonce is to be, and is as long.
var impostorNonce = []byte(strings.Repeat("N", 32))

// impostorConn is the network connection to a server that says what it was told to.
type impostorConn struct {
	net.Conn // none
	says     []byte
	sent     []byte // to it
}

func (c *impostorConn) Read(p []byte) (int, error) {
	if len(c.says) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.says)
	c.says = c.says[n:]
	return n, nil
}

func (c *impostorConn) Write(p []byte) (int, error) {
	c.sent = append(c.sent, p...)
	if _, nonce, found := bytes.Cut(p, []byte("r=")); found && len(nonce) == len(impostorNonce) {
		c.says = bytes.ReplaceAll(c.says, impostorNonce, nonce)
	}
	return len(p), nil
}

// tooMany iterations would take the time of the search.
var tooMany = regexp.MustCompile(`i=[+]?0*[1-9][0-9]{4,6}(\D|$)`)

// A server that does not know the password brings pgx to see nothing of what it
// says, once the client has begun to prove its own knowledge, but an error.
func FuzzImpostors(f *testing.F) {
	const challenge = "r=NNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNmore,s=c2FsdCBvZiBzaXh0ZWVuLg==,i="
	offer := &pgproto3.AuthenticationSASL{AuthMechanisms: []string{scramPlain}}
	asks := &pgproto3.AuthenticationSASLContinue{Data: []byte(challenge + "1")}
	lies := &pgproto3.AuthenticationSASLFinal{Data: []byte("v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")}
	isWell := &pgproto3.AuthenticationOk{}
	refuses := &pgproto3.ErrorResponse{Severity: "FATAL", Code: "28P01", Message: "no"}
	with := func(count string) *pgproto3.AuthenticationSASLContinue {
		return &pgproto3.AuthenticationSASLContinue{Data: []byte(challenge + count)}
	}
	for _, messages := range [][]pgproto3.BackendMessage{
		{offer, asks, lies, isWell}, {offer, asks, isWell}, {offer, isWell}, {isWell}, {refuses}, {offer, refuses}, {offer, asks, refuses},
		{offer, asks, &pgproto3.AuthenticationSASLFinal{Data: []byte("e=other-error")}, isWell}, {offer, asks, &pgproto3.AuthenticationSASLFinal{}, isWell},
		{offer, with("0"), lies, isWell}, {offer, with("99999999999"), lies, isWell}, {offer, with("1,i=1"), lies, isWell},
		{offer, &pgproto3.AuthenticationSASLContinue{Data: []byte("r=,s=,i=1")}, lies, isWell},
		{offer, &pgproto3.NoticeResponse{Message: "hello"}, asks, lies, isWell},
		{&pgproto3.AuthenticationSASL{AuthMechanisms: []string{scramBound, scramPlain}}, asks, lies, isWell},
		{&pgproto3.AuthenticationCleartextPassword{}, isWell},
	} {
		var stream []byte
		for _, m := range messages {
			var err error
			if stream, err = m.Encode(stream); err != nil {
				f.Fatal(err)
			}
		}
		f.Add(stream)
	}
	f.Add([]byte("R\xff\xff\xff\xff"))
	f.Add([]byte("R\x00\x00\x00\x00"))
	f.Add([]byte("R\x00\x00\x00\x04"))
	f.Fuzz(func(t *testing.T, says []byte) {
		if tooMany.Match(says) {
			t.Skip("it takes long")
		}
		logins := &scramLogins{password: canary, hash: scramHash}
		logins.client.Store(logins.newClient())
		raw := &impostorConn{says: bytes.Clone(says)}
		network := newExactConn(raw)
		seen, err := io.ReadAll(&loginReader{server: network, to: network, logins: logins})
		if bytes.Contains(raw.sent, []byte(canary)) || err != nil && strings.Contains(err.Error(), canary) {
			t.Errorf("the password is told: %q, %v", raw.sent, err)
		}
		began := bytes.Contains(raw.sent, []byte(scramPlain))
		switch {
		case !began && len(seen) > 0 && !bytes.Equal(seen, says),
			len(says) >= 5 && says[0] != 'R' && !bytes.Equal(seen, says):
			t.Errorf("pgx sees %q of %q", seen, says)
		case began && len(seen) > 0 && seen[0] != 'E':
			t.Errorf("the impostor is believed: pgx sees %q", seen)
		}
	})
}
