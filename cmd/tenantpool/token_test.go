package main

import (
	"bytes"
	"os"
	"path/filepath"
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

// inspected is what the command prints of what it reads.
func inspected(t *testing.T, in string) (status int, stdout, stderr string) {
	t.Helper()
	var out, wrong bytes.Buffer
	root := newRoot()
	root.SetArgs([]string{"token", "inspect"})
	root.SetIn(strings.NewReader(in))
	root.SetOut(&out)
	if err := root.ExecuteContext(t.Context()); err != nil {
		return 1, out.String(), err.Error()
	}
	return 0, out.String(), wrong.String()
}

// What the command prints is a file of revocations that holds the token.
func TestTokenInspectPrintsTheLineThatRevokes(t *testing.T) {
	t.Setenv("PASETO_PRIVATE_KEY", web.NewPrivateKey().Hex())
	_, token, _ := called(t, "token", "--role", "service", "--subject", "the shop", "--workspace", "a", "--ttl", "2h")
	status, stdout, stderr := inspected(t, "  "+token+"more\n")
	shape := regexp.MustCompile(`^token [A-Z2-7]{26}\n# subject the shop, role service\n# workspace a\n# issued \S+Z, expires \S+Z\n$`)
	if status != 0 || stderr != "" || !shape.MatchString(stdout) {
		t.Fatalf("%d, %q, %q", status, stdout, stderr)
	}
	path := filepath.Join(t.TempDir(), "revoked")
	if err := os.WriteFile(path, []byte(stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := web.ReadRevocations(path); err != nil {
		t.Error(err)
	}
	for in, want := range map[string]string{
		"":                                      "standard input holds no token",
		"hunter2":                               "which begins with v4.public.",
		"v4.public.AAAA":                        "which begins with v4.public.",
		"v4.public." + strings.Repeat("A", 200): "it is damaged",
		strings.TrimSpace(token) + ".x":         "not a token of this kind",
	} {
		if status, stdout, stderr := inspected(t, in); status == 0 || stdout != "" || !strings.Contains(stderr, want) || in != "" && strings.Contains(stderr, in) {
			t.Errorf("%q: %q, %q, want %s", in, stdout, stderr, want)
		}
	}
}

func TestATokenThatAServerMayRefuseIsIssuedWithANote(t *testing.T) {
	t.Setenv("PASETO_PRIVATE_KEY", web.NewPrivateKey().Hex())
	status, stdout, stderr := called(t, "token", "--role", "viewer", "--subject", "anna", "--ttl", "1000h")
	if status != 0 || !strings.HasPrefix(stdout, "v4.public.") || stderr != "A server accepts it only if its TENANTPOOL_MAX_TOKEN_TTL is 1000h0m0s or more.\n" {
		t.Errorf("%d, %q, %q", status, stdout, stderr)
	}
}
