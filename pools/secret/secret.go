// Package secret reads what an environment keeps secret: the value itself, or the name
// of a file that holds it, as orchestrators mount them.
package secret

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// FileSuffix makes of a variable's name the one that names a file.
const FileSuffix = "_FILE"

// longest is more than any key or password has: a file that is longer is another one.
const longest = 64 << 10

// FromEnv is the value of the variable name, or what the file that name_FILE names holds,
// without the line's end. An empty variable is like one that is not set; without both the
// value is empty. Both are an error, and so is an empty file. No error holds a part of the
// secret.
func FromEnv(name string) (string, error) {
	value, file := os.Getenv(name), os.Getenv(name+FileSuffix)
	switch {
	case file == "":
		return value, nil
	case value != "":
		return "", fmt.Errorf("%s and %s are both set: unset one of them", name, name+FileSuffix)
	}
	value, err := FromFile(file)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name+FileSuffix, err)
	}
	return value, nil
}

// FromFile is what the file holds, without the line's end. It is an error if that is
// nothing; no error holds a part of it.
func FromFile(file string) (string, error) {
	if about, err := os.Stat(file); err == nil && !about.Mode().IsRegular() {
		return "", errors.New("it must name a regular file") // to open another may block
	}
	f, err := os.Open(file)
	if err != nil {
		var path *os.PathError // which repeats the name: by mistake that may be the secret
		if errors.As(err, &path) {
			err = path.Err
		}
		return "", fmt.Errorf("it must name a file that holds the secret: %w", err)
	}
	defer func() { _ = f.Close() }()
	content, err := io.ReadAll(io.LimitReader(f, longest+1))
	switch content = trimLine(content); {
	case err != nil:
		return "", err
	case len(content) > longest:
		return "", fmt.Errorf("%s has more than %d bytes, which is too long for a secret", file, longest)
	case len(content) == 0:
		return "", fmt.Errorf("%s is empty", file)
	case bytes.IndexByte(content, 0) >= 0:
		return "", fmt.Errorf("%s has a NUL byte, which no secret may have", file)
	}
	return string(content), nil
}

// trimLine takes the end of the line away that echo and editors add, and nothing else: a
// password may end in a space.
func trimLine(content []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(content, []byte("\n")), []byte("\r"))
}
