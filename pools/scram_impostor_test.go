package pools_test

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// failsSoon is the AcquireTimeout where an open should fail.
const failsSoon = 300 * time.Millisecond

// openOnly opens a manager, and closes it.
func openOnly(t *testing.T, cfg model.Config) error {
	t.Helper()
	m, err := pools.Open(t.Context(), cfg, pools.WithLogger((&logBuffer{}).logger()))
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

	lock sync.Mutex
	// thought is how long its clients took from the challenge to the proof.
	thought []time.Duration
}

// start returns the settings of who takes it for the server.
func (i *impostor) start(t *testing.T) model.Config {
	t.Helper()
	cfg := config(20)
	cfg.Host, cfg.Port = "127.0.0.1", listen(t, i.serve).Port
	cfg.AcquireTimeout = failsSoon
	return cfg
}

func (i *impostor) thoughts() []time.Duration {
	i.lock.Lock()
	defer i.lock.Unlock()
	return slices.Clone(i.thought)
}

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
	began := time.Now()
	if b.Flush() != nil || b.SetAuthType(pgproto3.AuthTypeSASLContinue) != nil {
		return
	}
	message, err = b.Receive()
	if _, ok := message.(*pgproto3.SASLResponse); err != nil || !ok {
		return
	}
	i.lock.Lock()
	i.thought = append(i.thought, time.Since(began))
	i.lock.Unlock()
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
	for name, answer := range map[string][]pgproto3.BackendMessage{
		"its signature is wrong":         append([]pgproto3.BackendMessage{lie}, allIsWell...),
		"its signature is no signature":  append([]pgproto3.BackendMessage{&pgproto3.AuthenticationSASLFinal{Data: []byte("v=")}}, allIsWell...),
		"it says an error and goes on":   append([]pgproto3.BackendMessage{&pgproto3.AuthenticationSASLFinal{Data: []byte("e=other-error")}}, allIsWell...),
		"it skips the signature":         allIsWell,
		"it asks for the password again": {&pgproto3.AuthenticationCleartextPassword{}},
	} {
		t.Run(name, func(t *testing.T) {
			i := &impostor{offer: plainOnly, iterations: "4096", answer: answer}
			err := openOnly(t, i.start(t))
			if err == nil || !strings.Contains(err.Error(), "scram-sha-256") {
				t.Errorf("%v", err)
			}
			if len(i.thoughts()) == 0 {
				t.Error("it was not asked to prove anything")
			}
		})
	}
}

// A context cannot stop the computation of keys.
func TestAServerCannotTakeTheProcessorForLong(t *testing.T) {
	for _, iterations := range []string{"2147483648", "99999999999999999999", "10000001", "0", "-1", "many", "1,i=2147483648"} {
		i := &impostor{offer: plainOnly, iterations: iterations, answer: allIsWell}
		cfg := i.start(t)
		err := openOnly(t, cfg)
		if err == nil || !strings.Contains(err.Error(), "iterations") {
			t.Errorf("%s iterations: %v", iterations, err)
		}
		if len(i.thoughts()) != 0 {
			t.Errorf("%s iterations: keys were computed (%v)", iterations, err)
		}
	}
}

// Or an impostor could fill the memory with the keys of ever new salts.
func TestTheKeysOfAFailedLoginAreForgotten(t *testing.T) {
	n := manyIterations(t)
	i := &impostor{offer: plainOnly, iterations: strconv.Itoa(n), answer: []pgproto3.BackendMessage{lie}}
	cfg := i.start(t)
	cfg.AcquireTimeout = 10 * keysTake(t, n)
	if err := openOnly(t, cfg); err == nil {
		t.Fatal("it was believed")
	}
	thoughts := i.thoughts()
	once := keysTake(t, n)
	t.Logf("the logins took %v, the keys of one take %v", thoughts, once)
	if len(thoughts) < 2 {
		t.Fatal("it was tried once only, so this test shows nothing")
	}
	for _, took := range thoughts[1:] {
		if took < once/4 {
			t.Errorf("%v: the keys of the failed login were still there", took)
		}
	}
}
