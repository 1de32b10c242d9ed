package door

import (
	"log/slog"
	"testing"

	"github.com/xdg-go/scram"
)

// FuzzExchange answers the door's questions with anything: without the password nobody gets
// in, and with it nobody gets another one's grant.
func FuzzExchange(f *testing.F) {
	stored, err := derive("a password that is not in the corpus", []byte("0123456789abcdef"))
	if err != nil {
		f.Fatal(err)
	}
	known := map[string]*credential{"alice": {grant: Grant{User: "alice", Workspaces: []string{"a"}}, scram: stored}}
	users := &Users{}
	users.known.Store(&known)
	client, err := scram.SHA256.NewClient("alice", "another password", "")
	if err != nil {
		f.Fatal(err)
	}
	first, err := client.NewConversation().Step("")
	if err != nil {
		f.Fatal(err)
	}
	initial := append([]byte("SCRAM-SHA-256\x00\x00\x00\x00"), byte(len(first)))
	f.Add("alice", append(initial, first...), []byte("c=biws,r=x,p=AAAA"))
	f.Add("alice", []byte("SCRAM-SHA-256\x00\x00\x00\x00\x09n,,n=,r=x"), []byte{})
	f.Add("bob", []byte("SCRAM-SHA-256-PLUS\x00\x00\x00\x00\x09p=x,,n=,r"), []byte("c=biws"))
	f.Fuzz(func(t *testing.T, user string, a, b []byte) {
		n := &network{users: users, log: slog.New(slog.DiscardHandler)}
		exchange := n.begin(user, peer{})
		for _, body := range [][]byte{nil, append([]byte{}, a...), append([]byte{}, b...), append([]byte{}, b...)} {
			_, grant, err := exchange.next(body)
			if grant != nil {
				t.Fatalf("%q was let in as %+v", user, grant)
			}
			if err != nil {
				return
			}
		}
	})
}
