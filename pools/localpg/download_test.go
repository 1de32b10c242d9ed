//go:build unix

package localpg

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// archive packs this machine's PostgreSQL as the ones to download are packed.
// The files are named as seen from the folder above bin.
func archive(t *testing.T, names ...string) []byte {
	t.Helper()
	xz, err := exec.LookPath("xz")
	if err != nil {
		t.Skip("there is no xz here to pack an archive with")
	}
	where := usualPlaces()
	where.downloads = noDownload(t)
	binaries, err := findBinaries(t.Context(), where)
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	tape := tar.NewWriter(&packed)
	for _, name := range names {
		content, err := os.ReadFile(filepath.Join(filepath.Dir(binaries), name))
		if err != nil {
			t.Skipf("this machine's PostgreSQL is laid out otherwise: %v", err)
		}
		header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(content))}
		if err := tape.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := tape.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := tape.Close(); err != nil {
		t.Fatal(err)
	}
	compress := exec.Command(xz, "-0", "--check=crc32")
	compress.Stdin = &packed
	compressed, err := compress.Output()
	if err != nil {
		t.Fatal(err)
	}
	var jar bytes.Buffer
	files := zip.NewWriter(&jar)
	file, err := files.Create("postgres.txz")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Write(compressed); err != nil {
		t.Fatal(err)
	}
	if err := files.Close(); err != nil {
		t.Fatal(err)
	}
	return jar.Bytes()
}

// serve is a repository that has one archive under every name.
func serve(t *testing.T, jar []byte) (url string, requests *int) {
	t.Helper()
	requests = new(int)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*requests++
		if strings.HasSuffix(r.URL.Path, ".sha256") {
			sum := sha256.Sum256(jar)
			_, _ = w.Write([]byte(hex.EncodeToString(sum[:])))
			return
		}
		_, _ = w.Write(jar)
	}))
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections() // embedded-postgres uses it
		server.Close()
	})
	return server.URL, requests
}

// programFolder is one that every user may run programs from, which /dev/shm often is
// not.
func programFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestAServerFromDownloadedBinaries(t *testing.T) {
	t.Parallel()
	url, requests := serve(t,
		archive(t, "bin/initdb", "bin/postgres", "bin/pg_ctl", "lib/dict_snowball.so", "lib/plpgsql.so"))
	cache := programFolder(t)
	s, err := start(deadline(t), Options{InMemory: true}, machine{port: freePort, places: places{
		downloads: func(context.Context) (string, error) { return fetch(cache, url) },
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Stop() }()
	login(t, s)
	if !strings.HasPrefix(s.binaries, cache) {
		t.Errorf("the programs come from %s", s.binaries)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	packed, err := filepath.Glob(filepath.Join(cache, "*.txz"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range packed {
		_ = os.Remove(file) // what is unpacked is enough
	}
	if again, err := fetch(cache, url); again != s.binaries || err != nil {
		t.Errorf("the second time they come from %s (%v)", again, err)
	}
	if *requests != 2 {
		t.Errorf("%d requests, want one for the archive and one for its sum", *requests)
	}
	for _, name := range entries(t, cache) {
		if base := filepath.Base(name); strings.HasPrefix(base, "unpack-") {
			t.Errorf("left behind: %s", base)
		}
	}
	// Nobody else's postgres runs from there: no server but ours was started.
	commands, err := commandLines()
	if err != nil {
		t.Fatal(err)
	}
	for pid, command := range commands {
		if strings.Contains(command, cache) {
			t.Errorf("process %d is left: %s", pid, command)
		}
	}
}

func TestADownloadThatIsNoUse(t *testing.T) {
	t.Setenv("TMPDIR", openTemp(t))
	for name, test := range map[string]struct {
		jar  func(*testing.T) []byte
		want string
	}{
		"garbage":           {func(*testing.T) []byte { return []byte("Page not found") }, "embedded-postgres: "},
		"a program missing": {func(t *testing.T) []byte { return archive(t, "bin/initdb", "bin/pg_ctl") }, "holds no program bin/postgres"},
	} {
		t.Run(name, func(t *testing.T) {
			url, _ := serve(t, test.jar(t))
			cache := programFolder(t)
			folder, err := fetch(cache, url)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%q, %v; want an error that says %q", folder, err, test.want)
			}
			if found, _ := filepath.Glob(filepath.Join(cache, "postgresql-*")); len(found) > 0 {
				t.Errorf("it keeps %v", found)
			}
		})
	}
}
