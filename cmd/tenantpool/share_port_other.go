//go:build !unix

package main

import "syscall"

// sharePort does nothing: a port is one process's here.
func sharePort(string, string, syscall.RawConn) error { return nil }
