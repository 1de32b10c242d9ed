//go:build !unix

package localpg

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
)

var errUnsupported = fmt.Errorf("localpg: a throwaway PostgreSQL starts on Linux and macOS only, not on %s: use a server of your own: %w",
	runtime.GOOS, errors.ErrUnsupported)

type account struct{}

// serverAccount is the first thing Start asks, so nothing below is reached.
func serverAccount() (account, error) { return account{}, errUnsupported }

func (account) detach(*exec.Cmd)    {}
func (account) own(string) error    { return errUnsupported }
func (account) reaches(string) bool { return false }
func (account) who() string         { return "this user" }

func processes(string) ([]int, error)   { return nil, errUnsupported }
func dataArgument(folder string) string { return "-D" + folder }
func end(int)                           {}
func endGroup(int) error                { return errUnsupported }

var lookAtPromote = os.Kill

func (m Mode) signal() os.Signal { return os.Kill }
