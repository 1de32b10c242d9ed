package web

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

// The ids are of PASERK's own test vectors, k4.pid-1 and k4.pid-2.
func TestAKeysIDIsItsPASERK(t *testing.T) {
	for key, want := range map[string]string{
		"0000000000000000000000000000000000000000000000000000000000000000": "k4.pid.S_XQmeEwHbbvRmiyfXfHYpLGjXGzjTRSDoT1YtTakWFE",
		"707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f": "k4.pid.9ShR3xc8-qVJ_di0tc9nx0IDIqbatdeM2mqLFBJsKRHs",
	} {
		raw, _ := hex.DecodeString(key)
		if got := keyID(raw); got != want {
			t.Errorf("%s: %s, want %s", key, got, want)
		}
	}
}

func TestKeysAreReadAsTheyAreWritten(t *testing.T) {
	pair := NewPrivateKey()
	again, err := ParsePrivateKey(pair.Hex() + "\n")
	if err != nil || again.Hex() != pair.Hex() {
		t.Fatalf("%v", err)
	}
	other := NewPrivateKey().Public()
	keys, err := ParsePublicKeys(fmt.Sprintf(" %v ,%v,", pair.Public(), strings.ToUpper(other.String())))
	if err != nil || len(keys) != 2 || keys[0].ID() != pair.Public().ID() || keys[1].ID() != other.ID() {
		t.Errorf("%v: %v", keys, err)
	}
}

func TestBadKeysAreRefusedAndNotRepeated(t *testing.T) {
	pair := NewPrivateKey()
	secret, public := pair.Hex(), pair.Public().String()
	damaged := secret[:64] + NewPrivateKey().Hex()[64:]
	for given, want := range map[string]string{
		"":                        "has 0 hexadecimal digits, not 128",
		public:                    "give the private one",
		damaged:                   "do not belong together",
		secret[:126]:              "has 126 hexadecimal digits, not 128",
		"zz" + secret[2:]:         "not hexadecimal",
		secret[:63] + "\x00" + "": "not hexadecimal",
	} {
		_, err := ParsePrivateKey(given)
		refused(t, err, want, secret[2:20])
	}
	for given, want := range map[string]string{
		"":                    "there is none",
		" , ":                 "there is none",
		secret:                "give the public one",
		public + "," + secret: "public key 2: it is as long as a private key",
		public[:62]:           "has 62 hexadecimal digits, not 64",
		"k4.public.abc":       "not hexadecimal",
	} {
		_, err := ParsePublicKeys(given)
		refused(t, err, want, secret[2:20])
	}
}

func refused(t *testing.T, err error, want, secret string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
	if err != nil && strings.Contains(err.Error(), secret) {
		t.Errorf("the error gives the key away: %v", err)
	}
}

func TestAPrivateKeyDoesNotPrint(t *testing.T) {
	key := NewPrivateKey()
	o := struct{ Key PrivateKey }{key}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
		for _, s := range []string{fmt.Sprintf(verb, key), fmt.Sprintf(verb, &key), fmt.Sprintf(verb, o)} {
			if !strings.Contains(s, "[hidden]") || strings.Contains(s, key.Hex()[:16]) {
				t.Errorf("%s: %s", verb, s)
			}
		}
	}
}
