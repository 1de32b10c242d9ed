// Package build says what a program was built from: the log's first line, /metrics and
// dumps say the same.
package build

import (
	"cmp"
	"runtime"
	"runtime/debug"
)

// Set by the linker where there is no repository to look into, as in the image:
//
//	-X github.com/tenantpool/tenantpool/model/build.version=v1.2.3
//	-X github.com/tenantpool/tenantpool/model/build.revision=0123abc
var version, revision string

// Info is what a program was built from. No field is empty.
type Info struct {
	// Version is this module's: a tag, a pseudo-version, or "(devel)".
	Version string
	// Revision is the commit, with "-dirty" where files were changed after it.
	Revision string
	// Go is the version of the toolchain.
	Go string
}

const module = "github.com/tenantpool/tenantpool"

// unknown is what nobody has written into the program.
const unknown = "unknown"

// Current is this program's.
func Current() Info {
	info, _ := debug.ReadBuildInfo()
	return read(info, version, revision)
}

// read prefers what the linker was given to what the go command has found out.
func read(info *debug.BuildInfo, version, revision string) Info {
	if info == nil {
		info = &debug.BuildInfo{}
	}
	found, commit := "", ""
	if info.Main.Path == module {
		found, commit = info.Main.Version, committed(info.Settings)
	}
	for _, dep := range info.Deps { // the program is somebody else's, and so is its commit
		if dep.Path == module {
			found = dep.Version
		}
	}
	return Info{
		Version:  cmp.Or(version, found, unknown),
		Revision: cmp.Or(revision, commit, unknown),
		Go:       cmp.Or(info.GoVersion, runtime.Version()),
	}
}

func committed(settings []debug.BuildSetting) string {
	commit, dirty := "", ""
	for _, s := range settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	if commit == "" {
		return ""
	}
	return commit + dirty
}
