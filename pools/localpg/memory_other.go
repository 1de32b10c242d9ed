//go:build !linux

package localpg

func memory() string { return "" }
