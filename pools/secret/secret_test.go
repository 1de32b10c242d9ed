package secret

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestASecretComesFromTheVariableOrFromAFile(t *testing.T) {
	folder := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, test := range map[string]struct{ value, file, want, wrong string }{
		"neither":                  {},
		"the variable":             {value: " s3cret ", want: " s3cret "},
		"a file":                   {file: file("plain", "s3cret"), want: "s3cret"},
		"with its line's end":      {file: file("newline", "s3cret\n"), want: "s3cret"},
		"as Windows ends lines":    {file: file("crlf", "s3cret\r\n"), want: "s3cret"},
		"only the line's end goes": {file: file("spaces", " s3cret \n\n"), want: " s3cret \n"},
		"both":                     {value: "s3cret", file: file("both", "other"), wrong: "PASS and PASS_FILE are both set"},
		"no such file":             {file: filepath.Join(folder, "none"), wrong: "PASS_FILE: it must name a file that holds the secret: no such file"},
		"an empty file":            {file: file("empty", "\n"), wrong: "is empty"},
		"a folder":                 {file: folder, wrong: "a regular file"},
		"another kind of file":     {file: file("large", strings.Repeat("s3cret", 20_000)), wrong: "more than 65536 bytes"},
		"a file of bytes":          {file: file("bytes", "s3\x00cret"), wrong: "NUL byte"},
		"the secret by mistake":    {file: "s3cret", wrong: "PASS_FILE: it must name a file"},
		"one with a slash":         {file: "/s3cret+base64==", wrong: "PASS_FILE: it must name a file"},
		"one as a folder":          {file: filepath.Join(folder, "plain") + "/s3cret", wrong: "not a directory"},
		"a long secret by mistake": {file: strings.Repeat("s3cret", 60), wrong: "must name a file"},
		"a file that never ends":   {file: "/dev/zero", wrong: "a regular file"},
	} {
		t.Setenv("PASS", test.value)
		t.Setenv("PASS_FILE", test.file)
		got, err := FromEnv("PASS")
		switch {
		case test.wrong == "" && (err != nil || got != test.want):
			t.Errorf("%s: %q, %v, want %q", name, got, err, test.want)
		case test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong) || got != ""):
			t.Errorf("%s: %q, %v, want an error with %q", name, got, err, test.wrong)
		case err != nil && strings.Contains(err.Error(), "s3cret"):
			t.Errorf("%s: the error tells the secret: %v", name, err)
		}
	}
}
