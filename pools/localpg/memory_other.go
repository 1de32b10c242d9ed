//go:build !linux

package localpg

// Memory returns "": no folder is known to lie in memory here.
func Memory() string { return "" }
