package proxy

import (
	"crypto/tls"
	"os"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/Ishan27g/ryo-faas/proto"
)

// certCheck is how often a handshake looks whether the files of a certificate have
// changed.
const certCheck = time.Second

// certFiles is a certificate in files. It is read again when they change; if that fails,
// as while one of them is new and the other old, the last one that was good serves on.
type certFiles struct {
	cert, key string
	logger    hclog.Logger

	due  atomic.Int64 // when the files are looked at again, in unix nanoseconds
	seen atomic.Pointer[fileStates]
	good atomic.Pointer[tls.Certificate]
}

// fileStates tells the contents of two files from others.
type fileStates [2]os.FileInfo

func (s fileStates) equal(o fileStates) bool {
	for i := range s {
		if !os.SameFile(s[i], o[i]) || !s[i].ModTime().Equal(o[i].ModTime()) || s[i].Size() != o[i].Size() {
			return false
		}
	}
	return true
}

// openCert reads a certificate. Both names empty: there is none, and nil is returned.
func openCert(cert, key string, logger hclog.Logger) (*certFiles, error) {
	switch {
	case cert == "" && key == "":
		return nil, nil //nolint:nilnil // none is no error
	case cert == "" || key == "":
		return nil, proto.Errorf(proto.ErrInvalid, "-tls-cert and -tls-key are given together")
	}
	c := &certFiles{cert: cert, key: key, logger: logger}
	states, err := c.states()
	if err == nil {
		err = c.load(states)
	}
	if err != nil {
		return nil, proto.Errorf(proto.ErrInvalid, "-tls-cert, -tls-key: %w", err)
	}
	return c, nil
}

// config returns the TLS of callers, nil without a certificate.
func (c *certFiles) config() *tls.Config {
	if c == nil {
		return nil
	}
	return &tls.Config{GetCertificate: c.get, MinVersion: tls.VersionTLS12}
}

func (c *certFiles) states() (s fileStates, err error) {
	for i, name := range []string{c.cert, c.key} {
		if s[i], err = os.Stat(name); err != nil { // what a link leads to
			return s, err
		}
	}
	return s, nil
}

// load reads files that were in some states before.
func (c *certFiles) load(states fileStates) error {
	c.seen.Store(&states)
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return err
	}
	c.good.Store(&pair)
	return nil
}

// get is a tls.Config's GetCertificate. One handshake at a time looks at the files;
// others do not wait for it.
func (c *certFiles) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	now := time.Now()
	if due := c.due.Load(); now.UnixNano() >= due && c.due.CompareAndSwap(due, now.Add(certCheck).UnixNano()) {
		c.look()
	}
	return c.good.Load(), nil
}

func (c *certFiles) look() {
	states, err := c.states()
	if err == nil && states.equal(*c.seen.Load()) {
		return
	}
	if err == nil {
		err = c.load(states)
	}
	if err != nil {
		c.logger.Warn("the certificate cannot be read again; the one before serves on", "file", c.cert, "error", err)
		return
	}
	leaf := c.good.Load().Leaf
	c.logger.Info("a new certificate serves", "file", c.cert, "names", leaf.DNSNames, "until", leaf.NotAfter.UTC().Format(time.RFC3339))
}
