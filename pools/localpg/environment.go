package localpg

import "os"

// environment is all that our child processes see of ours: nothing of PG* or
// the locale that would change what they do, and no secret of the program.
func environment() []string {
	const system = "/usr/bin:/bin:/usr/sbin:/sbin"
	path := system
	if ours := os.Getenv("PATH"); ours != "" {
		path = ours + ":" + system
	}
	env := []string{
		"PATH=" + path,
		"LC_ALL=C", // messages in English: some are looked for
		"TZ=UTC",   // otherwise initdb searches for the machine's time zone
	}
	for _, name := range []string{"LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR"} {
		if value := os.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}
