package door

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
	"pgregory.net/rapid"
)

// packetOf makes a packet without its length: a code, and the rest.
func packetOf(code uint32, rest string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, code), rest...)
}

const version3 = 3 << 16

func TestTheStartUpSaysWhatItTakes(t *testing.T) {
	for _, c := range []struct {
		name    string
		tls     bool
		packets [][]byte
		want    string
	}{
		{"plain", false, [][]byte{packetOf(version3, "user\x00a\x00database\x00b\x00\x00")}, "hello 3.0 a b []"},
		{"3.2", false, [][]byte{packetOf(version3+2, "user\x00a\x00\x00")}, "hello 3.2 a a []"},
		{"a newer one", false, [][]byte{packetOf(version3+9999, "user\x00a\x00_pq_.x\x00y\x00\x00")}, "v hello 3.2 a a []"},
		{"3.1, which there is not", false, [][]byte{packetOf(version3+1, "user\x00a\x00\x00")}, "v hello 3.0 a a []"},
		{"TLS that there is not", false, [][]byte{packetOf(codeTLS, ""), packetOf(version3, "user\x00a\x00\x00")}, "N hello 3.0 a a []"},
		{"TLS", true, [][]byte{packetOf(codeTLS, ""), packetOf(version3, "user\x00a\x00\x00")}, "S upgrade hello 3.0 a a []"},
		{"GSS, then TLS", true, [][]byte{packetOf(codeGSS, ""), packetOf(codeTLS, ""), packetOf(version3, "user\x00a\x00\x00")}, "N S upgrade hello 3.0 a a []"},
		{"TLS twice", true, [][]byte{packetOf(codeTLS, ""), packetOf(codeTLS, "")}, "S upgrade refused 08P01"},
		{"TLS twice, refused", false, [][]byte{packetOf(codeTLS, ""), packetOf(codeTLS, "")}, "N refused 08P01"},
		{"GSS twice", false, [][]byte{packetOf(codeGSS, ""), packetOf(codeGSS, "")}, "N refused 08P01"},
		{"GSS under TLS", true, [][]byte{packetOf(codeTLS, ""), packetOf(codeGSS, "")}, "S upgrade refused 08P01"},
		{"a cancel request", false, [][]byte{packetOf(codeCancel, "\x00\x00\x00\x07abcd")}, "cancel 7 abcd"},
		{"a long key", false, [][]byte{packetOf(codeCancel, "\x00\x00\x00\x07"+strings.Repeat("k", 256))}, "cancel 7 " + strings.Repeat("k", 256)},
		{"too long a key", false, [][]byte{packetOf(codeCancel, "\x00\x00\x00\x07"+strings.Repeat("k", 257))}, "refused 08P01"},
		{"no key", false, [][]byte{packetOf(codeCancel, "\x00\x00\x00\x07")}, "refused 08P01"},
		{"2.0", false, [][]byte{packetOf(2<<16, "user\x00a\x00\x00")}, "refused 0A000"},
		{"no user", false, [][]byte{packetOf(version3, "database\x00b\x00\x00")}, "refused 28000"},
		{"no end", false, [][]byte{packetOf(version3, "user\x00a\x00")}, "refused 08P01"},
		{"no value", false, [][]byte{packetOf(version3, "user\x00a\x00x\x00")}, "refused 08P01"},
		{"something after the end", false, [][]byte{packetOf(version3, "user\x00a\x00\x00\x00")}, "refused 08P01"},
		{"replication", false, [][]byte{packetOf(version3, "user\x00a\x00replication\x00database\x00\x00")}, "refused 0A000"},
		{"no replication", false, [][]byte{packetOf(version3, "user\x00a\x00replication\x00false\x00\x00")}, "hello 3.0 a a []"},
		{"settings", false, [][]byte{packetOf(version3, "user\x00a\x00TimeZone\x00UTC\x00options\x00-c work_mem=1MB --search-path=a\\ b\x00\x00")}, "hello 3.0 a a [{TimeZone UTC} {work_mem 1MB} {search_path a b}]"},
		{"the last counts", false, [][]byte{packetOf(version3, "user\x00a\x00timezone\x00A\x00TimeZone\x00B\x00\x00")}, "hello 3.0 a a [{TimeZone B}]"},
		{"a role", false, [][]byte{packetOf(version3, "user\x00a\x00role\x00postgres\x00\x00")}, "refused 22023"},
		{"a role among the options", false, [][]byte{packetOf(version3, "user\x00a\x00options\x00-cSession_Authorization=x\x00\x00")}, "refused 22023"},
		{"no name of a setting", false, [][]byte{packetOf(version3, "user\x00a\x00x; DROP\x00y\x00\x00")}, "refused 22023"},
		{"another StartupMessage", false, [][]byte{packetOf(version3, "user\x00a\x00\x00"), packetOf(version3, "user\x00b\x00\x00")}, "hello 3.0 a a [] refused 08P01"},

		// PgBouncer CVE-2025-12819 and its like: a search_path of the client's reached the
		// query that looks up its password. Here it is a setting of the session, and the
		// query runs in another one (Users.ask).
		{"CVE: search_path before the log-in", false, [][]byte{packetOf(version3, "user\x00a\x00search_path\x00evil\x00\x00")}, "hello 3.0 a a [{search_path evil}]"},
		{"CVE: an empty -c= spins", false, [][]byte{packetOf(version3, "user\x00a\x00options\x00-c=\x00\x00")}, "refused 42601"},
		{"CVE: -c at the end", false, [][]byte{packetOf(version3, "user\x00a\x00options\x00-c\x00\x00")}, "refused 42601"},
		{"CVE: --= spins", false, [][]byte{packetOf(version3, "user\x00a\x00options\x00--=\x00\x00")}, "refused 42601"},
	} {
		t.Run(c.name, func(t *testing.T) {
			machine := startup{offersTLS: c.tls}
			var got []string
			for _, packet := range c.packets {
				got = append(got, said(machine.take(packet)))
			}
			if got := strings.Join(got, " "); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// said is a step in a few words.
func said(step startupStep) string {
	var words []string
	if len(step.reply) > 0 {
		words = append(words, string(step.reply[:1]))
	}
	if step.upgrade {
		words = append(words, "upgrade")
	}
	if step.cancel != nil {
		words = append(words, fmt.Sprintf("cancel %d %s", step.cancel.pid, step.cancel.secret))
	}
	if step.hello != nil {
		words = append(words, fmt.Sprintf("hello 3.%d %s %s %v", step.hello.minor, step.hello.user, step.hello.database, step.hello.parameters))
	}
	if step.refused != nil {
		words = append(words, "refused "+step.refused.Code)
	}
	return strings.Join(words, " ")
}

// PostgreSQL sends the version as a whole, as libpq wants it.
func TestTheNegotiatedVersionIsAWholeOne(t *testing.T) {
	machine := startup{}
	got := machine.take(packetOf(version3+9999, "user\x00a\x00_pq_.x\x00y\x00\x00")).reply
	want := "v\x00\x00\x00\x13\x00\x03\x00\x02\x00\x00\x00\x01_pq_.x\x00"
	if string(got) != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// CVE: a length of 2^31 and others that cannot be are refused before anything is allocated.
func TestTheLengthOfAPacketIsBounded(t *testing.T) {
	for length, ok := range map[uint32]bool{0: false, 4: false, 7: false, 8: true, 10_000: true, 10_001: false, 1 << 31: false, 1<<31 - 1: false, 1<<32 - 1: false} {
		size, refused := packetSize(binary.BigEndian.AppendUint32(nil, length))
		if (refused == nil) != ok || ok && size != int(length) {
			t.Errorf("%d: %d, %v", length, size, refused)
		}
	}
}

// The second StartupMessage of CVE-2026-6664: during SCRAM only a message 'p' is read.
func TestNothingButAPasswordIsReadAfterTheStartUp(t *testing.T) {
	hello := packetOf(version3, "user\x00admin\x00\x00")
	hello = append(binary.BigEndian.AppendUint32(nil, uint32(len(hello)+4)), hello...)
	for name, sent := range map[string][]byte{
		"a second StartupMessage": hello,
		"a query":                 appendQuery(nil, "SELECT 1"),
		"a length of 2^31":        {'p', 0x80, 0, 0, 0},
		"a length of 3":           {'p', 0, 0, 0, 3},
		"65,536 bytes":            {'p', 0, 1, 0, 0},
	} {
		if _, err := readPassword(bytes.NewReader(sent)); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if got, err := readPassword(strings.NewReader("p\x00\x00\x00\x08abcdrest")); err != nil || string(got) != "abcd" {
		t.Errorf("got %q, %v", got, err)
	}
}

// naive reads a StartupMessage in the dumbest way, by pgproto3.
func naive(rest []byte) (user, database string, ok bool) {
	var m pgproto3.StartupMessage
	if m.Decode(packetOf(version3, string(rest))) != nil {
		return "", "", false
	}
	user, database = m.Parameters["user"], m.Parameters["database"]
	if database == "" {
		database = user
	}
	return user, database, user != ""
}

func TestWhoIsLoggedInIsWhoTheStartupMessageNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SampledFrom([]string{"user", "database", "TimeZone", "options", "replication", "application_name", "x.y"})
		values := rapid.SampledFrom([]string{"", "a", "b", "off", "-c a=b", "UTC"})
		var rest []byte
		for range rapid.IntRange(0, 6).Draw(t, "pairs") {
			rest = appendString(appendString(rest, names.Draw(t, "name")), values.Draw(t, "value"))
		}
		rest = append(rest, 0)
		user, database, ok := naive(rest)
		machine := startup{}
		step := machine.take(packetOf(version3, string(rest)))
		if step.hello != nil && (!ok || step.hello.user != user || step.hello.database != database) {
			t.Fatalf("%q: %+v, and not %q %q", rest, step.hello, user, database)
		}
		if step.hello == nil && step.refused == nil {
			t.Fatalf("%q: nothing came of it", rest)
		}
	})
}

// FuzzStartup sends any packets: there is an end to each, and one StartupMessage at most.
func FuzzStartup(f *testing.F) {
	f.Add(true, packetOf(codeTLS, ""), packetOf(version3, "user\x00a\x00\x00"), packetOf(version3+2, "user\x00b\x00options\x00-c=\x00\x00"))
	f.Add(false, packetOf(codeGSS, ""), packetOf(codeCancel, "\x00\x00\x00\x01abcd"), []byte{})
	f.Fuzz(func(t *testing.T, tls bool, a, b, c []byte) {
		machine := startup{offersTLS: tls}
		ends := 0
		for _, packet := range [][]byte{a, b, c} {
			step := machine.take(packet)
			if ends > 0 && (step.hello != nil || step.cancel != nil || step.upgrade || step.refused == nil) {
				t.Fatalf("after the end: %s", said(step))
			}
			if step.hello != nil || step.cancel != nil {
				ends++
			}
			if step.hello != nil {
				if step.hello.user == "" || step.hello.database == "" {
					t.Fatal("nobody came in")
				}
				for _, p := range step.hello.parameters {
					if unsettable(p) != "" || strings.ContainsRune(p.value, 0) {
						t.Fatalf("%q may be set", p)
					}
				}
			}
		}
	})
}

// FuzzOptions splits options: never without an end, and what comes out was in it.
func FuzzOptions(f *testing.F) {
	f.Add("-c a=b --c-d=e\\ f")
	f.Add("-c=")
	f.Add("\\")
	f.Fuzz(func(t *testing.T, line string) {
		set, err := optionsOf(line)
		again, errAgain := optionsOf(line)
		if !reflect.DeepEqual(set, again) || (err == nil) != (errAgain == nil) {
			t.Fatal("not the same twice")
		}
		for _, p := range set {
			if p.name == "" {
				t.Fatalf("%q sets nothing", line)
			}
		}
	})
}
