package server

import (
	"crypto/tls"
	"sync/atomic"
)

// recordHandshake is the first byte of a TLS connection (RFC 8446 section 5.1). No
// request begins with it.
const recordHandshake = 0x16

// secureConn is a connection that speaks TLS if its first byte says so. net/http is not
// told: what it reads and writes is plain, so that it can be checked on the way
// (framing.go), and it knows HTTP/2 by its preface. One goroutine at a time reads it.
type secureConn struct {
	*patientConn // below TLS: there its limit is for some bytes, above for a whole record
	config       *tls.Config
	told         bool // the first byte has been read
	tls          atomic.Pointer[tls.Conn]
	state        atomic.Pointer[tls.ConnectionState] // of a complete handshake
	resets       atomic.Bool                         // Close says no farewell
}

// begunConn is a connection of which the first byte was read.
type begunConn struct {
	*patientConn
	first []byte
}

func (c *begunConn) Read(p []byte) (int, error) {
	if len(c.first) > 0 {
		n := copy(p, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.patientConn.Read(p)
}

// Read implements net.Conn.
func (c *secureConn) Read(p []byte) (int, error) {
	if t := c.tls.Load(); t != nil {
		return t.Read(p)
	}
	if c.told || len(p) == 0 {
		return c.patientConn.Read(p)
	}
	n, err := c.patientConn.Read(p[:1])
	if n == 0 {
		return 0, err
	}
	c.told = true
	if p[0] != recordHandshake {
		return n, err
	}
	t := tls.Server(&begunConn{c.patientConn, []byte{recordHandshake}}, c.config)
	c.tls.Store(t)
	return t.Read(p)
}

// Write implements net.Conn.
func (c *secureConn) Write(p []byte) (int, error) {
	if t := c.tls.Load(); t != nil {
		return t.Write(p)
	}
	return c.patientConn.Write(p)
}

// Close implements net.Conn.
func (c *secureConn) Close() error {
	if t := c.tls.Load(); t != nil && !c.resets.Load() {
		return t.Close()
	}
	return c.patientConn.Close()
}

// SetLinger says how Close works: with 0 the connection is reset. TLS says nothing then,
// either: after its farewell what came would look complete (RFC 8446 section 6.1).
func (c *secureConn) SetLinger(seconds int) error {
	c.resets.Store(seconds == 0)
	return c.patientConn.SetLinger(seconds)
}

// CloseWrite says that no more is sent.
func (c *secureConn) CloseWrite() error {
	if t := c.tls.Load(); t != nil {
		return t.CloseWrite()
	}
	return c.patientConn.CloseWrite()
}

// connectionState returns what is known of the caller's TLS, nil without it.
func (c *secureConn) connectionState() *tls.ConnectionState {
	if state := c.state.Load(); state != nil {
		return state
	}
	t := c.tls.Load()
	if t == nil {
		return nil
	}
	state := t.ConnectionState()
	if state.HandshakeComplete {
		c.state.Store(&state)
	}
	return &state
}

// tlsConfig returns cfg with the protocols that are served, nil for nil.
func tlsConfig(cfg *tls.Config) *tls.Config {
	if cfg == nil {
		return nil
	}
	cfg = cfg.Clone()
	cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS12)
	cfg.NextProtos = append([]string{"h2", "http/1.1"}, cfg.NextProtos...)
	return cfg
}
