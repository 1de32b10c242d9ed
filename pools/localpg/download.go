package localpg

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

const (
	// repository is where embedded-postgres downloads from.
	repository = "https://repo1.maven.org/maven2"
	// downloadVersion is a constant of embedded-postgres, which knows the
	// archives' names.
	downloadVersion = embeddedpostgres.V17
)

// download returns a folder with PostgreSQL's programs, which it downloads the
// first time and keeps. If ctx ends, the download goes on in the background
// until it fails or is done: embedded-postgres takes no context.
func download(ctx context.Context) (string, error) {
	cache, err := cacheFolder()
	if err != nil {
		return "", err
	}
	type result struct {
		folder string
		err    error
	}
	done := make(chan result, 1)
	go func() {
		folder, err := fetch(cache, repository)
		done <- result{folder, err}
	}()
	select {
	case r := <-done:
		return r.folder, r.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// cacheFolder keeps what was downloaded. Root's own cache is closed to the
// account that will run the programs.
func cacheFolder() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/cache/tenantpool", nil
	}
	caches, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(caches, "tenantpool"), nil
}

// fetch has embedded-postgres download and unpack its archive, and nothing
// more. Its exported way to do that is Start, which would go on to run a server
// that no watchdog guards. So Start gets an encoding that initdb refuses: it
// fails right after unpacking, as root does there in any case.
func fetch(cache, repository string) (string, error) {
	home := filepath.Join(cache, "postgresql-"+string(downloadVersion))
	bin := filepath.Join(home, "bin")
	if lacks(bin) == "" {
		return bin, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(cache, "unpack-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(work) }()
	if err := os.Chmod(work, 0o755); err != nil {
		return "", err
	}
	port, err := freePort() // Start wants one, and does not come to use it
	if err != nil {
		return "", err
	}
	unpacked := filepath.Join(work, "postgresql")
	database := embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
		Version(downloadVersion).
		Port(uint32(port)).
		BinaryRepositoryURL(repository).
		CachePath(cache).
		BinariesPath(unpacked).
		RuntimePath(filepath.Join(work, "run")).
		Encoding("no-server-is-wanted").
		Logger(io.Discard))
	err = database.Start()
	if err == nil {
		err = database.Stop()
	}
	if err != nil && !strings.Contains(err.Error(), "unable to init database") {
		return "", fmt.Errorf("embedded-postgres: %w", err)
	}
	if missing := lacks(filepath.Join(unpacked, "bin")); missing != "" {
		return "", fmt.Errorf("the archive of embedded-postgres holds no program bin/%s", missing)
	}
	// Whoever comes first wins; the others find the folder there.
	if err := os.Rename(unpacked, home); err != nil && lacks(bin) != "" {
		return "", err
	}
	return bin, nil
}
