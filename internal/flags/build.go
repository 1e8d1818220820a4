package flags

import (
	"runtime"
	"runtime/debug"
	"strings"
)

// Build says which build of a program this is.
type Build struct {
	// Version is a tag, a pseudo-version with the commit, or "devel" where the build
	// knows neither.
	Version string `json:"version"`
	// Commit is the commit of the source, "" where the build does not know it.
	Commit string `json:"commit"`
	// Modified says that the source differed from its commit.
	Modified bool `json:"modified"`
	// Go is the version of the toolchain.
	Go string `json:"go"`
	// Platform is what it was built for, such as linux/amd64.
	Platform string `json:"platform"`
}

// ThisBuild is the build of this program.
func ThisBuild() Build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return buildOf(info)
}

func buildOf(info *debug.BuildInfo) Build {
	b := Build{Version: info.Main.Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if b.Version == "" || b.Version == "(devel)" {
		b.Version = "devel"
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	if b.Commit == "" { // a program of `go install` has its commit in a pseudo-version alone
		if parts := strings.Split(b.Version, "-"); len(parts) > 2 {
			b.Commit, _, _ = strings.Cut(parts[len(parts)-1], "+")
		}
	}
	return b
}

// shownCommit is how much of a commit people are shown: as much as git shows of the
// largest repositories.
const shownCommit = 12

// String is the build as -version prints it: "v1.2.3 commit 0123456789ab go1.26.8
// linux/amd64".
func (b Build) String() string {
	commit := "unknown"
	if b.Commit != "" {
		commit = b.Commit[:min(len(b.Commit), shownCommit)]
	}
	if b.Modified {
		commit += " (modified)"
	}
	return strings.Join([]string{b.Version, "commit " + commit, b.Go, b.Platform}, " ")
}
