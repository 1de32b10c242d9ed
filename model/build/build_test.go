package build

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestWhatIsKnownIsTold(t *testing.T) {
	own := debug.Module{Path: module, Version: "v1.2.3"}
	committed := []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "false"}}
	changed := []debug.BuildSetting{{Key: "vcs.modified", Value: "true"}, {Key: "vcs.revision", Value: "abc"}}
	theirs := debug.Module{Path: "example.com/theirs", Version: "v9.9.9"}
	for name, test := range map[string]struct {
		info              *debug.BuildInfo
		version, revision string
		want              Info
	}{
		"the program":           {&debug.BuildInfo{GoVersion: "go1.99", Main: own, Settings: committed}, "", "", Info{"v1.2.3", "abc", "go1.99"}},
		"with changes":          {&debug.BuildInfo{Main: own, Settings: changed}, "", "", Info{"v1.2.3", "abc-dirty", runtime.Version()}},
		"without a repository":  {&debug.BuildInfo{Main: debug.Module{Path: module, Version: "(devel)"}}, "", "", Info{"(devel)", "unknown", runtime.Version()}},
		"the linker was told":   {&debug.BuildInfo{Main: own, Settings: committed}, "v2.0.0", "def", Info{"v2.0.0", "def", runtime.Version()}},
		"in another program":    {&debug.BuildInfo{Main: theirs, Settings: committed, Deps: []*debug.Module{&own}}, "", "", Info{"v1.2.3", "unknown", runtime.Version()}},
		"nobody knows anything": {nil, "", "", Info{"unknown", "unknown", runtime.Version()}},
	} {
		if got := read(test.info, test.version, test.revision); got != test.want {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}
