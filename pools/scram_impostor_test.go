package pools_test

import (
	"context"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// failsSoon is the AcquireTimeout where an open should fail: time for a dial, here and
// now, and not much more.
func failsSoon(t *testing.T) time.Duration {
	t.Helper()
	return 300*time.Millisecond + 20*dialsTake(t)
}

// openOnly opens a manager, and closes it.
func openOnly(t *testing.T, cfg model.Config, opts ...pools.Option) error {
	t.Helper()
	m, err := pools.Open(t.Context(), cfg, append(opts, pools.WithLogger((&logBuffer{}).logger()))...)
	if err == nil {
		closeManager(t, m)
	}
	return err
}

// openSoon opens a manager as soon as the server has read its configuration again.
func openSoon(t *testing.T, cfg model.Config) *manager {
	t.Helper()
	eventually(t, "the server lets "+cfg.User+" in", func() bool {
		err := openOnly(t, cfg)
		return err == nil
	})
	return open(t, cfg)
}

// impostor claims to be a PostgreSQL that asks for scram-sha-256. It does not know
// the password.
type impostor struct {
	offer      []string
	iterations string
	// answer is what it says to the client's proof.
	answer []pgproto3.BackendMessage

	// received counts its clients' proofs, and proved hears of each.
	received atomic.Int64
	proved   func(proofs int)
}

// start returns the settings of who takes it for the server.
func (i *impostor) start(t *testing.T, atMost time.Duration) model.Config {
	t.Helper()
	cfg := config(20)
	cfg.Host, cfg.Port = "127.0.0.1", listen(t, i.serve).Port
	cfg.AcquireTimeout = atMost
	return cfg
}

func (i *impostor) proofs() int { return int(i.received.Load()) }

func (i *impostor) serve(conn net.Conn) {
	b := pgproto3.NewBackend(conn, conn)
	if _, err := b.ReceiveStartupMessage(); err != nil {
		return
	}
	b.Send(&pgproto3.AuthenticationSASL{AuthMechanisms: i.offer})
	if b.Flush() != nil || b.SetAuthType(pgproto3.AuthTypeSASL) != nil {
		return
	}
	message, err := b.Receive()
	if err != nil {
		return
	}
	first, ok := message.(*pgproto3.SASLInitialResponse)
	if !ok {
		return
	}
	_, nonce, _ := strings.Cut(string(first.Data), "r=")
	b.Send(&pgproto3.AuthenticationSASLContinue{Data: []byte("r=" + nonce + "more,s=c2FsdCBvZiBzaXh0ZWVuLg==,i=" + i.iterations)})
	if b.Flush() != nil || b.SetAuthType(pgproto3.AuthTypeSASLContinue) != nil {
		return
	}
	message, err = b.Receive()
	if _, ok := message.(*pgproto3.SASLResponse); err != nil || !ok {
		return
	}
	if n := i.received.Add(1); i.proved != nil {
		i.proved(int(n))
	}
	for _, message := range i.answer {
		b.Send(message)
	}
	_ = b.Flush()
	_, _ = b.Receive()
}

var (
	plainOnly = []string{"SCRAM-SHA-256"}
	// lie is a signature of the right form; allIsWell is what a login ends with.
	lie       = &pgproto3.AuthenticationSASLFinal{Data: []byte("v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")}
	allIsWell = []pgproto3.BackendMessage{&pgproto3.AuthenticationOk{}, &pgproto3.BackendKeyData{ProcessID: 1, SecretKey: []byte{1, 2, 3, 4}}, &pgproto3.ReadyForQuery{TxStatus: 'I'}}
)

func TestAServerThatDoesNotKnowThePasswordIsNotTalkedTo(t *testing.T) {
	soon := failsSoon(t)
	together(map[string][]pgproto3.BackendMessage{
		"its signature is wrong":         append([]pgproto3.BackendMessage{lie}, allIsWell...),
		"its signature is no signature":  append([]pgproto3.BackendMessage{&pgproto3.AuthenticationSASLFinal{Data: []byte("v=")}}, allIsWell...),
		"it says an error and goes on":   append([]pgproto3.BackendMessage{&pgproto3.AuthenticationSASLFinal{Data: []byte("e=other-error")}}, allIsWell...),
		"it skips the signature":         allIsWell,
		"it asks for the password again": {&pgproto3.AuthenticationCleartextPassword{}},
	}, func(name string, answer []pgproto3.BackendMessage) {
		i := &impostor{offer: plainOnly, iterations: "4096", answer: answer}
		err := openOnly(t, i.start(t, soon))
		if err == nil || !strings.Contains(err.Error(), "scram-sha-256") {
			t.Errorf("%s: %v", name, err)
		}
		if i.proofs() == 0 {
			t.Errorf("%s: it was not asked to prove anything", name)
		}
	})
}

// together calls f for all of them at once: each call waits for a time-out.
func together[T any](all map[string]T, f func(string, T)) {
	var wg sync.WaitGroup
	for name, one := range all {
		wg.Go(func() { f(name, one) })
	}
	wg.Wait()
}

// A context cannot stop the computation of keys.
func TestAServerCannotTakeTheProcessorForLong(t *testing.T) {
	soon := failsSoon(t)
	together(map[string]string{
		"max int": "2147483648", "huge": "99999999999999999999", "too many": "10000001", "none": "0",
		"negative": "-1", "no number": "many", "twice": "1,i=2147483648",
	}, func(_, iterations string) {
		i := &impostor{offer: plainOnly, iterations: iterations, answer: allIsWell}
		cfg := i.start(t, soon)
		err := openOnly(t, cfg)
		if err == nil || !strings.Contains(err.Error(), "iterations") {
			t.Errorf("%s iterations: %v", iterations, err)
		}
		if i.proofs() != 0 {
			t.Errorf("%s iterations: keys were computed (%v)", iterations, err)
		}
	})
}

// Or an impostor could fill the memory with the keys of ever new salts.
func TestTheKeysOfAFailedLoginAreForgotten(t *testing.T) {
	sums := pools.CountHashes(t)
	i := &impostor{offer: plainOnly, iterations: strconv.Itoa(iterations), answer: []pgproto3.BackendMessage{lie}}
	cfg := i.start(t, patience)
	ctx, enough := context.WithCancel(t.Context())
	defer enough()
	i.proved = func(proofs int) {
		if proofs == 3 {
			enough()
		}
	}
	if m, err := pools.Open(ctx, cfg, pools.WithLogger((&logBuffer{}).logger())); err == nil {
		closeManager(t, m)
		t.Fatal("it was believed")
	}
	if logins := i.proofs(); logins < 3 || keysComputed(sums) < logins {
		t.Errorf("%d logins computed keys %d times", logins, keysComputed(sums))
	}
}
