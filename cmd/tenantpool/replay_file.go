package main

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/tenantpool/tenantpool/model/core"
	"github.com/tenantpool/tenantpool/pools"
)

// mostDump is as large as an entry of a dump gets.
const mostDump = 64 << 20

// readDump reads the recordings of a dump. What it returns may still be nonsense:
// see model.Restore.
func readDump(stdin io.Reader, file string) ([]core.Recording, error) {
	data, err := readFile(stdin, file)
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(data, []byte("PK")) {
		if data, err = unzip(data); err != nil {
			return nil, err
		}
	}
	var recordings []core.Recording
	if err := json.Unmarshal(data, &recordings); err != nil {
		return nil, fmt.Errorf("it is not the JSON of a supervisor's messages: %s", oneLine(err))
	}
	if len(recordings) == 0 {
		return nil, errors.New("it holds no messages")
	}
	return recordings, nil
}

// oneLine: the error may have words of the file, which may be anything.
func oneLine(err error) string {
	for _, r := range err.Error() {
		if !strconv.IsPrint(r) {
			return strconv.Quote(err.Error())
		}
	}
	return err.Error()
}

func readFile(stdin io.Reader, file string) ([]byte, error) {
	if file == "-" {
		return readBounded(stdin)
	}
	f, err := os.Open(file)
	if err != nil {
		var path *os.PathError
		if errors.As(err, &path) {
			err = path.Err // the file's name is said already
		}
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	return readBounded(f)
}

var errTooLarge = fmt.Errorf("it is larger than %d MiB, which no dump is", mostDump>>20)

func readBounded(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, mostDump+1))
	if err == nil && len(data) > mostDump {
		err = errTooLarge
	}
	return data, err
}

// unzip returns the one entry that matters.
func unzip(data []byte) ([]byte, error) {
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, fmt.Errorf("it is a damaged zip file: %w", err)
	}
	f, err := archive.Open(pools.DumpMessages)
	if err != nil {
		return nil, fmt.Errorf("it is a zip file without an entry %s, and so no dump", pools.DumpMessages)
	}
	defer func() { _ = f.Close() }()                                 // it was only read
	if info, err := f.Stat(); err == nil && info.Size() > mostDump { // before any of it is unpacked
		return nil, fmt.Errorf("its entry %s: %w", pools.DumpMessages, errTooLarge)
	}
	if data, err = readBounded(f); err != nil {
		return nil, fmt.Errorf("its entry %s: %w", pools.DumpMessages, err)
	}
	return data, nil
}
