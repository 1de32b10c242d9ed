package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"github.com/tenantpool/tenantpool/web"
)

// called runs the program in this process.
func called(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	status = run(t.Context(), args, &out, &err)
	return status, out.String(), err.String()
}

func TestKeygenPrintsTwoEnvironmentLinesOfOnePair(t *testing.T) {
	status, stdout, stderr := called(t, "keygen")
	found := regexp.MustCompile(`^PASETO_PRIVATE_KEY=([0-9a-f]{128})\nPASETO_PUBLIC_KEY=([0-9a-f]{64})\n$`).FindStringSubmatch(stdout)
	if status != 0 || found == nil || stderr != "" {
		t.Fatalf("exit status %d, %q, %q", status, stdout, stderr)
	}
	private, err := web.ParsePrivateKey(found[1])
	if err != nil || private.Public().String() != found[2] {
		t.Errorf("the two do not belong together: %v", err)
	}
	if _, again, _ := called(t, "keygen"); again == stdout {
		t.Error("the same pair twice")
	}
}

func TestTokenIsPaseto(t *testing.T) {
	t.Setenv("PASETO_PRIVATE_KEY", web.NewPrivateKey().Hex())
	for _, args := range []string{
		"--role viewer --subject anna",
		"--role operator --subject anna --ttl 8h",
		"--role service --subject shop --workspace a --workspace b --ttl 15m",
	} {
		status, stdout, stderr := called(t, append([]string{"token"}, strings.Fields(args)...)...)
		if status != 0 || stderr != "" || !regexp.MustCompile(`^v4\.public\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\n$`).MatchString(stdout) {
			t.Errorf("%s: exit status %d, %q, %q", args, status, stdout, stderr)
		}
	}
}

func TestTokenSaysWhatIsWrong(t *testing.T) {
	key := web.NewPrivateKey()
	const good = " --subject anna --role viewer"
	for _, test := range []struct {
		args, key string
		status    int
		want      string
	}{
		{"", key.Hex(), 2, "--role is required"},
		{"--role viewer", key.Hex(), 2, "--subject is required"},
		{"--role root --subject anna", key.Hex(), 2, "viewer or operator or service"},
		{"--role service --subject anna", key.Hex(), 2, "needs at least one workspace"},
		{"--workspace a" + good, key.Hex(), 2, "for the role service only"},
		{"--workspace a.b" + good, key.Hex(), 2, `workspace id "a.b"`},
		{"--ttl 0" + good, key.Hex(), 2, "from 1s to 8784h0m0s"},
		{"--ttl=-1h" + good, key.Hex(), 2, "from 1s to 8784h0m0s"},
		{"--ttl 9000h" + good, key.Hex(), 2, "from 1s to 8784h0m0s"},
		{"--ttl soon" + good, key.Hex(), 2, "such as 15m or 8h"},
		{"surplus" + good, key.Hex(), 2, "takes flags only"},
		{"--key " + key.Hex() + good, "", 2, "unknown flag: --key"},
		{good, "", 1, "PASETO_PRIVATE_KEY is not set: make a key pair with tenantpool keygen"},
		{good, key.Public().String(), 1, "PASETO_PRIVATE_KEY: private key: it is as short as a public key"},
		{good, key.Hex()[:100], 1, "has 100 hexadecimal digits, not 128"},
		{good, strings.Repeat("z", 128), 1, "not hexadecimal"},
	} {
		t.Run(test.args, func(t *testing.T) {
			t.Setenv("PASETO_PRIVATE_KEY", test.key)
			status, stdout, stderr := called(t, append([]string{"token"}, strings.Fields(test.args)...)...)
			if status != test.status || stdout != "" || !strings.Contains(stderr, test.want) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("exit status %d, %q, %q, want %s", status, stdout, stderr, test.want)
			}
			if strings.Contains(stderr, key.Hex()[10:40]) {
				t.Errorf("the error gives the key away: %s", stderr)
			}
		})
	}
}
