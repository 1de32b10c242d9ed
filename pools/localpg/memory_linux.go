package localpg

import "syscall"

// Memory returns a folder whose files lie in memory, or "" where there is none
// with room for a server of a few hundred databases. Programs that start a server
// put it there if they are given the folder as TMPDIR.
func Memory() string {
	const (
		folder = "/dev/shm"
		room   = 3 << 30 // a database takes 8 MB
	)
	var fs syscall.Statfs_t
	if err := syscall.Statfs(folder, &fs); err != nil || fs.Bavail*uint64(fs.Bsize) < room {
		return ""
	}
	return folder
}
