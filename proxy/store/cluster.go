package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/rand/v2"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/Ishan27g/ryo-faas/proto"
)

const (
	// nodePort is where a node is whose address names no port.
	nodePort = "4222"
	// dialLimit bounds each attempt to reach a node.
	dialLimit = 2 * time.Second
	// linkPing is how often it is asked whether the node is there: one that was stopped, or
	// cut off, is left for another one after three times as long.
	linkPing = time.Second
	// leastMinor is of the engine's version, 2.minor: schedules and limits of earlier ones
	// lack something that this package uses.
	leastMinor = 14
	// replicas is how many machines have each change; it is made once a majority has it.
	replicas = 3
)

// Cluster is an engine that other processes use, too, on machines of its own.
type Cluster struct {
	URLs   []string    // of its nodes, as ParseNodes returns them
	Secret *Secret     // of nodes of this program; nil: they are other servers, of NATS
	Creds  string      // file by which those know the caller; "": they need none
	TLS    *tls.Config // nil: as their addresses say
}

// ParseNodes reads the addresses of an engine's nodes, such as nats://a:4222,b,c. Those without
// a scheme have that of the one before.
func ParseNodes(text string) (urls []string, err error) {
	scheme := "nats"
	for word := range strings.SplitSeq(text, ",") {
		word = strings.TrimSpace(word)
		if before, _, ok := strings.Cut(word, "://"); ok {
			scheme = before
		} else {
			word = scheme + "://" + word
		}
		u, err := url.Parse(word)
		if err != nil || u.Scheme != "nats" && u.Scheme != "tls" || u.Hostname() == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
			return nil, proto.Errorf(proto.ErrInvalid, "%q is not the address of an engine's node, such as nats://10.0.0.1:4222", word)
		}
		if u.Port() == "" {
			u.Host = net.JoinHostPort(u.Hostname(), nodePort)
		}
		urls = append(urls, u.String())
	}
	return urls, nil
}

// place is where the engine is, for people.
func (c *Cluster) place() string {
	hosts := make([]string, len(c.URLs))
	for i, text := range c.URLs {
		if u, err := url.Parse(text); err == nil {
			hosts[i] = u.Host // without what callers are known by
		}
	}
	return "the engine at " + strings.Join(hosts, ", ")
}

// connect reaches one of the nodes. If it is lost another one is tried, for ever.
func (c *Cluster) connect(l *links, logger hclog.Logger) (*nats.Conn, error) {
	options := []nats.Option{
		nats.Name("ryo"), nats.Timeout(dialLimit), nats.PingInterval(linkPing), nats.MaxPingsOutstanding(2), nats.FlusherTimeout(answerLimit),
		// What cannot be sent is refused at once and tried again here, where it is known for how long.
		nats.ReconnectBufSize(-1), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(),
		nats.CustomReconnectDelay(func(attempts int) time.Duration { return jittered(min(firstPause<<min(attempts, 10), answerLimit)) }),
		// Those that are named are asked, and no others that they may know.
		nats.IgnoreDiscoveredServers(), nats.NoCallbacksAfterClientClose(),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			l.lose(err)
			logger.Warn("the engine's node is lost; another one is tried", "error", err)
		}),
		nats.ReconnectHandler(func(conn *nats.Conn) {
			l.find()
			logger.Info("the engine's node is another one", "node", conn.ConnectedServerName())
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { logger.Warn("the engine reports", "error", err) }),
	}
	switch {
	case c.Secret != nil:
		options = append(options, nats.Secure(c.Secret.tls), nats.TLSHandshakeFirst())
	case c.TLS != nil:
		options = append(options, nats.Secure(c.TLS))
	}
	if c.Creds != "" {
		options = append(options, nats.UserCredentials(c.Creds))
	}
	return nats.Connect(strings.Join(c.URLs, ","), options...)
}

// join opens a session of an engine elsewhere.
func (e *Engine) join(ctx context.Context) (*session, error) {
	s, n, err := e.dial(ctx)
	if err != nil {
		return nil, err
	}
	err = s.prepare(ctx, n, e.cfg.Backlog)
	if code(err) == codeNoPeers {
		err = proto.Errorf(proto.ErrUnavailable, "%s does not have three nodes that can store something now: %w", s.place, err).
			WithHint("start the others; each needs JetStream, and room on its disk")
	}
	if err != nil {
		return nil, errors.Join(fault("open "+s.place, err), s.end())
	}
	return s, nil
}

// dial returns a session in which nothing is prepared yet, and on how many machines the
// engine keeps things.
func (e *Engine) dial(ctx context.Context) (s *session, n int, err error) {
	s = newSession(e.logger)
	s.many, s.place = true, e.cfg.Cluster.place()
	if s.conn, err = e.cfg.Cluster.connect(&s.links, e.logger); err != nil {
		err = e.cfg.Cluster.unreached(s.place, err)
	}
	if err == nil {
		s.js, err = jetstream.New(s.conn, jetstream.WithDefaultTimeout(answerLimit))
	}
	if err == nil {
		n, err = s.suits(ctx)
	}
	if err != nil {
		return nil, 0, errors.Join(fault("open "+s.place, err), s.end())
	}
	return s, n, nil
}

// unreached says why no node of an engine takes this caller, and what to do about it.
func (c *Cluster) unreached(place string, err error) error {
	say := "%s cannot be reached: %w"
	hint := "its nodes must run, and know this caller: -engine-secret, or -engine-creds"
	var strange x509.UnknownAuthorityError
	var another x509.HostnameError
	switch {
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked), errors.Is(err, nats.ErrAccountAuthExpired):
		say = "%s does not admit this caller: %w"
		if hint = "-engine-creds FILE names credentials of a user of the account that has JetStream"; c.Creds != "" {
			hint = "-engine-creds names " + c.Creds + ": its user must belong to an account that the nodes know, and be neither expired nor revoked"
		}
	case c.Secret == nil && errors.As(err, &strange):
		say = "%s is not known by its certificate: %w"
		hint = "-engine-ca FILE names the certificates by which its nodes are known"
	case c.Secret == nil && errors.As(err, &another):
		say = "%s has the certificate of another name: %w"
		hint = "-engine names the nodes as their certificates do"
	case c.Secret == nil && errors.Is(err, nats.ErrSecureConnWanted), c.Secret == nil && errors.Is(err, nats.ErrSecureConnRequired):
		hint = "-engine tls://HOST:PORT is for nodes that speak TLS, nats:// for those that do not"
	}
	return proto.Errorf(proto.ErrUnavailable, say, place, err).From("store", "unreachable").WithHint(hint)
}

// suits refuses an engine that does not do what this package needs, and returns how many
// machines it can keep things on.
func (s *session) suits(ctx context.Context) (n int, err error) {
	version := s.conn.ConnectedServerVersion()
	if !late(version) {
		return 0, proto.Errorf(proto.ErrUnsupported, "%s has version %s, and 2.%d is the least", s.place, version, leastMinor).
			WithHint("proxy engine -cluster runs nodes that suit")
	}
	_, err = s.js.AccountInfo(ctx)
	if errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) || errors.Is(err, nats.ErrNoResponders) {
		return 0, proto.Errorf(proto.ErrUnsupported, "%s has no JetStream, or not for this caller: %w", s.place, err).WithHint("enable JetStream on its nodes and for the account; -engine-creds says which account it is")
	}
	if err != nil {
		return 0, err
	}
	if !strings.HasPrefix(s.conn.ConnectedServerName(), nodePrefix) {
		s.logger.Warn("whether this engine has on its disks what it acknowledges cannot be seen; its setting jetstream.sync_interval must be always", "node", s.conn.ConnectedServerName())
	}
	if s.conn.ConnectedClusterName() == "" {
		s.logger.Warn("this engine has one machine: what it stores is on that one alone", "node", s.conn.ConnectedServerName())
		return 1, nil
	}
	return replicas, nil
}

// late reports whether a version of the engine is not before the least one.
func late(version string) bool {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	m, err := strconv.Atoi(minor)
	n, bad := strconv.Atoi(major)
	return err == nil && bad == nil && (n > 2 || n == 2 && m >= leastMinor)
}

// links is what is known of the way to an engine elsewhere.
type links struct {
	mu sync.Mutex // guards the fields below:
	// lost is when the node was lost, and why; zero: it is there.
	lost time.Time
	why  error
	// renewed is closed when there is another node; nil: nobody waits for that.
	renewed chan struct{}
	// silent is since when nothing was stored that was to be; zero: the last change was made.
	silent     time.Time
	unanswered error
	// leaderless is when the leader of a stream did not answer, by stream.
	leaderless map[string]time.Time
	found      uint64    // how often another node was found
	trouble    time.Time // when something was last lost, or silent
}

// troubled reports whether something was lost or silent lately.
func (l *links) troubled() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Since(l.trouble) < doubt
}

// limit is how long to wait for an answer to what may be asked again.
func (l *links) limit() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.trouble) < electionLimit {
		return soon
	}
	return tryLimit
}

func (l *links) lose(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost, l.why, l.trouble = time.Now(), err, time.Now()
}

func (l *links) find() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost, l.why = time.Time{}, nil
	l.found++
	if l.renewed != nil {
		close(l.renewed)
		l.renewed = nil
	}
}

// anew returns what is closed when another node is found, and how often that has been.
func (l *links) anew() (<-chan struct{}, uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.renewed == nil {
		l.renewed = make(chan struct{})
	}
	return l.renewed, l.found
}

// heard says that a change was made, or refused by those who decide that.
func (l *links) heard() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.silent, l.unanswered = time.Time{}, nil
}

// unheard says that nobody has answered.
func (l *links) unheard(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trouble = time.Now()
	if l.unanswered = err; l.silent.IsZero() {
		l.silent = l.trouble
	}
}

// patience is how long to wait for an answer to a change, or to something else: as long as an
// election takes, and shorter if there was none for so long.
func (l *links) patience(change bool) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	since := l.lost
	if change && !l.silent.IsZero() {
		since = l.silent
	}
	if since.IsZero() {
		return electionLimit
	}
	return max(tryLimit, electionLimit-time.Since(since))
}

// err says why the engine stores nothing now.
func (l *links) err(place string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	why, since := l.why, l.lost
	if since.IsZero() {
		why, since = l.unanswered, l.silent
	}
	if since.IsZero() {
		return nil
	}
	if why == nil {
		why = errNoAnswer
	}
	return proto.Errorf(proto.ErrUnavailable, "%s has not answered for %s: %w", place, time.Since(since).Round(time.Second), why).From("store", "silent")
}

var errNoAnswer = errors.New("no answer")

// silentLeader notes that the leader of a stream does not answer.
func (l *links) silentLeader(stream string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leaderless == nil {
		l.leaderless = map[string]time.Time{}
	}
	l.trouble = time.Now()
	l.leaderless[stream] = l.trouble
}

// led reports whether a stream's leader is worth a question.
func (l *links) led(stream string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Since(l.leaderless[stream]) > tryLimit
}

// jittered is about a pause: of many who wait not all go on at the same time.
func jittered(pause time.Duration) time.Duration {
	return pause/2 + rand.N(pause) //nolint:gosec // nothing secret
}

// unanswered is the error of what nobody has answered, though several times asked.
func (s *session) unanswered(sure bool, err error) error {
	if sure {
		return proto.Errorf(proto.ErrUnavailable, "%s does not answer, and nothing was changed: %w", s.place, err).From("store", "silent").
			WithHint("a majority of its nodes must run and reach each other; functions go on meanwhile")
	}
	return proto.Errorf(proto.ErrTimeout, "%s does not answer, and it is not known whether this change was made: %w", s.place, err).From("store", "unsure").
		WithHint("look what is there, then try again")
}
