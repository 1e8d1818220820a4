package build

import "go/version"

// MendedGo is the first Go version whose standard library has none of the faults that
// the Go vulnerability database knew when this was last raised. .ci/vuln tells when it
// is to be raised again.
const MendedGo = "go1.26.10"

// Mended returns the version that mends known faults of a toolchain's standard library,
// which every function gets that is built with it; "" when none are known. It knows
// nothing about older release lines than that of MendedGo, and says MendedGo for them.
func Mended(goVersion string) string {
	if version.IsValid(goVersion) && version.Compare(goVersion, MendedGo) < 0 {
		return MendedGo
	}
	return ""
}
