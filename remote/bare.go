package remote

import (
	"bytes"
	_ "embed" // for zoneinfo
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// zoneinfo is Go's own archive of the world's time zones.
//
//go:generate sh -c "cp $(go env GOROOT)/lib/time/zoneinfo.zip zoneinfo.zip"
//go:embed zoneinfo.zip
var zoneinfo []byte

// Where Go looks for time zones and certificate authorities on this system.
var (
	zoneDirs  = []string{"usr/share/zoneinfo", "usr/share/lib/zoneinfo", "usr/lib/locale/TZ", "etc/zoneinfo"}
	rootFiles = []string{
		"etc/ssl/certs/ca-certificates.crt", "etc/pki/tls/certs/ca-bundle.crt", "etc/ssl/ca-bundle.pem", "etc/pki/tls/cacert.pem",
		"etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "etc/ssl/cert.pem", "etc/ssl/certs/*.pem", "etc/pki/tls/certs/*.pem",
	}
)

// furnish writes to dir what functions expect and the machine whose root folder is root
// lacks, as small containers do: time zones and certificate authorities. It returns the
// environment through which functions find them.
func furnish(dir, root string) (env []string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // functions read it
		return nil, err
	}
	if !anyOf(root, zoneDirs, "Europe/London") {
		// Go does not look at ZONEINFO for TZ. Package boot removes GOROOT from the
		// environment again, once Go has read it.
		err = errors.Join(err, replace(filepath.Join(dir, "lib", "time", "zoneinfo.zip"), zoneinfo))
		env = append(env, "GOROOT="+dir, "RYO_GOROOT="+dir)
	}
	if !anyOf(root, rootFiles, "") {
		file := filepath.Join(dir, "roots.pem")
		err = errors.Join(err, replace(file, roots()))
		env = append(env, "SSL_CERT_FILE="+file)
	}
	return env, err
}

// anyOf reports whether a file exists at one of some places below root.
func anyOf(root string, places []string, file string) bool {
	for _, place := range places {
		if found, _ := filepath.Glob(filepath.Join(root, place, file)); len(found) > 0 {
			return true
		}
	}
	return false
}

// roots are Mozilla's certificate authorities, without those that are trusted only
// under conditions, which a file cannot say.
func roots() []byte {
	var all bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			_ = pem.Encode(&all, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // a buffer takes everything
		}
	}
	return all.Bytes()
}

// replace writes a file that functions may be reading.
func replace(file string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil { //nolint:gosec // functions read it
		return err
	}
	if err := os.WriteFile(file+".new", data, 0o644); err != nil { //nolint:gosec // functions read it
		return err
	}
	return os.Rename(file+".new", file)
}
