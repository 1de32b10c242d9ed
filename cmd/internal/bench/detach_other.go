//go:build !unix

package bench

import "os/exec"

// Without /bin/sh nothing is started that could need these.

func detach(*exec.Cmd) {}
func kill(*exec.Cmd)   {}
