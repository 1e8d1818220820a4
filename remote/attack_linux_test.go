package remote

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/confine"
	"github.com/Ishan27g/ryo-faas/transport/server"
)

// Functions that are no better than the attack of testdata, and what stops them.

// plainUser has an agent of a plain user attacked: it is the folder with what that needs,
// in an environment variable of the test's own program. With alone set too, no user
// namespaces can be made.
const (
	plainUser = "REMOTE_TEST_PLAIN"
	alone     = "REMOTE_TEST_ALONE"
)

// nobody is a plain user.
const nobody = 65534

func TestAttacksOfFunctionsAreStopped(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and shorter tests run the same code")
	}
	if runtime.GOARCH != "amd64" {
		t.Skip("the attacks know the system calls of amd64 alone")
	}
	if dir := os.Getenv(plainUser); dir != "" {
		becomePlain(t)
		attackPlainly(t, dir)
		return
	}
	a := start(t, t.TempDir())
	attack := attackSource(t)
	victim := a.deployed(t, &proto.FunctionJson{Name: "Victim", Dir: source(t, says("Victim", "mine")), Wait: true, Env: map[string]string{"SECRET": "1"}})
	newScene(t, a, victim).attacks(t, attack)
	if os.Getuid() == 0 {
		attackAsPlainUser(t, a, attack, "")
		attackAsPlainUser(t, a, attack, "1")
	}
}

// attackSource is the attack's package, as a definition.
func attackSource(t *testing.T) *proto.FunctionJson {
	t.Helper()
	code, err := os.ReadFile("testdata/attack/attack.go")
	require.NoError(t, err)
	return attackIn(t, string(code))
}

func attackIn(t *testing.T, code string) *proto.FunctionJson {
	t.Helper()
	dir := source(t, code)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "data.txt"), []byte("included"), 0o600))
	return &proto.FunctionJson{Name: "Attack", Dir: dir, Include: []string{"data.txt"}, Wait: true}
}

// attackAsPlainUser has a plain user's agent, which cannot build, run the same programs.
// With without set it cannot make namespaces either.
func attackAsPlainUser(t *testing.T, a running, attack *proto.FunctionJson, without string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "plain-") //nolint:usetesting // a plain user cannot reach those of testing
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for _, name := range []string{"Victim", "Attack"} {
		rows, err := a.Details(t.Context())
		require.NoError(t, err)
		for _, row := range rows {
			if row.GetName() != name {
				continue
			}
			from, program, err := a.OpenProgram(row.GetProgram().GetKey())
			require.NoError(t, err)
			content, err := io.ReadAll(from)
			require.NoError(t, err)
			require.NoError(t, from.Close())
			program.Kind = row.GetKind()
			described, err := json.Marshal(program)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), content, 0o644))           //nolint:gosec // the plain user reads it
			require.NoError(t, os.WriteFile(filepath.Join(dir, name+".json"), described, 0o644)) //nolint:gosec // as above
		}
	}
	code, err := os.ReadFile(filepath.Join(attack.GetDir(), "fn.go"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "attack.go"), code, 0o644)) //nolint:gosec // as above
	require.NoError(t, os.Chown(dir, nobody, nobody))
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.v="+strconv.FormatBool(testing.Verbose()), "-test.run=^"+t.Name()+"$") //nolint:gosec // itself
	cmd.Env = append(os.Environ(), plainUser+"="+dir, "HOME="+dir, "TMPDIR="+dir, "XDG_CACHE_HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if without != "" {
		ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}, {ContainerID: nobody, HostID: nobody, Size: 1}}
		cmd.Env = append(cmd.Env, alone+"="+without)
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true}
	}
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, string(output))
	t.Log(string(output))
}

// becomePlain makes root of a user namespace a plain user who cannot make another one.
func becomePlain(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		return
	}
	require.NoError(t, os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0o600))
	require.NoError(t, syscall.Setgroups(nil))
	require.NoError(t, syscall.Setgid(nobody))
	require.NoError(t, syscall.Setuid(nobody))
	require.NoError(t, syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
}

// attackPlainly is attackAsPlainUser's other half.
func attackPlainly(t *testing.T, dir string) {
	t.Helper()
	a := startWith(t, t.TempDir(), func(cfg *Config) { cfg.NoBuild = true })
	if os.Getenv(alone) != "" {
		require.Equal(t, proto.IsolationBasic, a.walls.Tier())
	}
	program := func(fn *proto.FunctionJson) *proto.FunctionJson {
		var p proto.Program
		described, err := os.ReadFile(filepath.Join(dir, fn.GetName()+".json"))
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(described, &p))
		content, err := os.Open(filepath.Join(dir, fn.GetName()))
		require.NoError(t, err)
		defer content.Close()
		require.NoError(t, a.KeepProgram(t.Context(), &p, content))
		fn = a.send(t, fn)
		fn.Program, fn.Kind = p.GetKey(), p.GetKind()
		return fn
	}
	code, err := os.ReadFile(filepath.Join(dir, "attack.go"))
	require.NoError(t, err)
	victim := a.deployed(t, program(&proto.FunctionJson{Name: "Victim", Dir: source(t, says("Victim", "mine")), Wait: true}))
	newScene(t, a, victim).attacks(t, program(attackIn(t, string(code))))
}

// scene is what attacks are aimed at.
type attackScene struct {
	running
	folder  string // of the sibling's version
	note    string // a file in its folder for temporary files, which all users may read
	sibling string // the pid of its process
	address string // of its service
	socket  string // and its unix socket
	control string // the agent's address
	url     string // of the attack
}

func newScene(t *testing.T, a running, victim *proto.FunctionJsonRsp) *attackScene {
	t.Helper()
	s := &attackScene{
		running: a, folder: filepath.Join(a.dir, "functions", "victim", "1"), sibling: strconv.Itoa(int(victim.GetPid())),
		address: strings.TrimPrefix(victim.GetProxy(), "http://"), socket: victim.GetSocket(),
	}
	s.note = filepath.Join(s.folder, "tmp", "note")
	require.NoError(t, os.WriteFile(s.note, []byte("mine"), 0o644)) //nolint:gosec // as a careless program does
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- server.Serve(ctx, a.Agent, server.Config{Listeners: []net.Listener{l}, Store: a.Store(), Worker: a.Agent})
	}()
	t.Cleanup(func() {
		stop()
		assert.NoError(t, <-served)
	})
	s.control = l.Addr().String()
	return s
}

// deploy deploys the attack with settings.
func (s *attackScene) deploy(t *testing.T, attack *proto.FunctionJson, set func(*proto.FunctionJson)) *proto.FunctionJsonRsp {
	t.Helper()
	set(attack)
	row := s.deployed(t, attack)
	s.url = row.GetUrl()
	return row
}

// try makes an attack; a process that does not survive it is said to be killed.
func (s *attackScene) try(t *testing.T, attack, at string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"?"+url.Values{"try": {attack}, "at": {at}}.Encode(), nil)
	require.NoError(t, err)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	rsp, err := client.Do(req)
	if err != nil {
		return "killed"
	}
	defer rsp.Body.Close()
	text, err := io.ReadAll(rsp.Body)
	if err != nil {
		return "killed"
	}
	return string(text)
}

type attackCase struct{ attack, at, want string }

func (s *attackScene) all(t *testing.T, cases []attackCase) {
	t.Helper()
	for _, c := range cases {
		assert.Equal(t, c.want, s.try(t, c.attack, c.at), "%s %s", c.attack, c.at)
	}
}

func (s *attackScene) attacks(t *testing.T, attack *proto.FunctionJson) {
	agent, inFolder := strconv.Itoa(os.Getpid()), func(name ...string) string { return filepath.Join(append([]string{s.dir}, name...)...) }
	row := s.deploy(t, attack, func(*proto.FunctionJson) {})
	require.Equal(t, s.walls.Tier().String(), row.GetIsolation())
	require.NotEqual(t, "none", row.GetIsolation(), "on a machine where tests run")
	own := inFolder("functions", "attack", strconv.Itoa(int(row.GetVersion())))
	// What the tiers above keep out of sight, those below keep out of reach.
	apart := s.walls.Tier() >= proto.IsolationStrong
	sight := func(otherwise, here string) string {
		if apart {
			return here
		}
		return otherwise
	}
	hidden, closed, unknown := sight("EACCES", "ENOENT"), sight("EACCES", "EROFS"), sight("EPERM", "ESRCH")
	t.Run("without settings", func(t *testing.T) {
		s.all(t, []attackCase{
			{"read", "/etc/shadow", "EACCES"},
			{"read", inFolder("secrets.key"), hidden},
			{"read", inFolder("functions", "victim", "record.json"), hidden},
			{"read", filepath.Join(s.folder, "src", "fn.go"), hidden},
			{"read", s.note, hidden},
			{"stat", inFolder("secrets.key"), sight("worked", "ENOENT")},
			{"list", s.folder, hidden},
			{"list", inFolder("logs"), hidden},
			{"list", "/", "EACCES"},
			{"list", "/proc", "EACCES"},
			{"write", filepath.Join(os.TempDir(), "ryo-attack"), closed},
			{"write", "/dev/shm/ryo-attack", hidden},
			{"write", filepath.Join(own, "fn2"), closed},
			{"write", filepath.Join(own, "src", "fn2.go"), closed},
			{"read", "/proc/" + s.sibling + "/environ", hidden},
			{"read", "/proc/" + agent + "/environ", hidden},
			{"read", "/proc/self/mem", hidden},
			{"unix", s.socket, "EACCES"},
			{"unix", inFolder("holder.sock"), "EACCES"},
			{"unix", "@ryo-attack", "EACCES"},
			{"listen", "127.0.0.1:0", "EACCES"},
			{"mptcp", s.control, "EACCES"},
			{"fastopen", s.control, "EPERM"},
			{"raw", "", "EACCES"},
			{"packet", "", "EACCES"},
			{"vsock", "", "EACCES"},
			{"netlink", "", "EACCES"},
			{"signal", s.sibling, unknown},
			{"signal", agent, unknown},
			{"ptrace", s.sibling, "EPERM"},
			{"chmod", inFolder("secrets.key"), "EPERM"},
			{"fchmod", "/etc/passwd", "EPERM"},
			{"touch", s.note, "EPERM"},
			{"xattr", inFolder("secrets.key"), "EPERM"},
			{"watch", inFolder("run"), "EPERM"},
			{"vmread", s.sibling, "EPERM"},
			{"limits", s.sibling, "EPERM"},
			{"nice", s.sibling, "EPERM"},
			{"steal", s.sibling, unknown},
			{"mount", own, "EPERM"},
			{"setuid", "", "EPERM"},
			{"chroot", own, "EPERM"},
			{"unshare", "", "EPERM"},
			{"userns", "", "EPERM"},
			{"bpf", "", "EPERM"},
			{"iouring", "", "EPERM"},
			{"keyctl", "", "EPERM"},
			{"memfd", "", "EPERM"},
			{"exec", "/bin/true", "EPERM"},
			{"become", "/bin/sh", "EACCES"},
			{"copy", filepath.Join(own, "fn"), "EACCES"},
			{"children", "1", "EPERM"},
			{"fds", "", "16"},
			// What no rule of the kernel's says: all ports but some.
			{"tcp", s.control, "worked"},
			{"udp", s.control, "worked"},
			// So the agent itself refuses functions.
			{"control", s.control, "401"},
		})
		assert.NotContains(t, s.try(t, "env", ""), "SECRET=")
	})
	t.Run("what functions need works", func(t *testing.T) {
		server := httptest.NewTLSServer(http.NotFoundHandler())
		defer server.Close()
		_, port, err := net.SplitHostPort(server.Listener.Addr().String())
		require.NoError(t, err)
		s.all(t, []attackCase{{"work", "localhost:" + port, "worked"}})
	})
	t.Run("with less network", func(t *testing.T) {
		udp := "worked"
		if slices.ContainsFunc(s.walls.Report().Layers, func(l confine.Layer) bool { return l.Name == confine.Datagrams && l.State == confine.On }) {
			udp = "EPERM"
		}
		s.deploy(t, attack, func(fn *proto.FunctionJson) { fn.Network = []string{"1"} })
		s.all(t, []attackCase{
			{"tcp", s.control, "EACCES"},
			{"tcp", s.address, "EACCES"},
			{"tfo", s.control, "EACCES"},
			{"tcp", "127.0.0.1:1", "ECONNREFUSED"},
			{"udp", s.control, udp},
			{"udp", "127.0.0.1:53", "worked"},
		})
		s.deploy(t, attack, func(fn *proto.FunctionJson) { fn.Network = []string{"none"} })
		s.all(t, []attackCase{{"tcp", s.control, "EACCES"}, {"udp", s.control, "EACCES"}, {"tcp", "127.0.0.1:1", "EACCES"}})
	})
	t.Run("with all that can be allowed", func(t *testing.T) {
		s.deploy(t, attack, func(fn *proto.FunctionJson) {
			fn.Network, fn.Allow = nil, []string{proto.AllowSubprocess, proto.AllowUnix, proto.AllowListen}
		})
		s.all(t, []attackCase{
			{"exec", "/bin/true", "worked"},
			{"control", s.control, "401"},
			{"listen", "127.0.0.1:0", "worked"},
			{"copy", filepath.Join(own, "fn"), hidden},
			{"read", "/etc/shadow", "EACCES"},
			{"read", inFolder("secrets.key"), hidden},
			{"read", s.note, hidden},
			{"signal", s.sibling, "EPERM"},
			{"signal", agent, "EPERM"},
			{"userns", "", "EPERM"},
			{"chmod", inFolder("secrets.key"), "EPERM"},
			{"watch", s.dir, "EPERM"},
		})
	})
	t.Run("with less memory", func(t *testing.T) {
		s.deploy(t, attack, func(fn *proto.FunctionJson) { fn.Allow, fn.Memory, fn.Cpu = nil, "100MiB", "0.5" })
		s.all(t, []attackCase{{"memory", "16", "worked"}, {"hog", "512", "killed"}})
		var crashes []*proto.Crash
		require.Eventually(t, func() bool {
			var err error
			crashes, err = s.Crashes(t.Context(), "Attack")
			return err == nil && len(crashes) > 0
		}, patience, 5*time.Millisecond)
		assert.True(t, crashes[0].GetOutOfMemory())
		assert.Contains(t, crashes[0].GetCause(), "out of memory (limit 100 MiB")
		if s.walls.Tier() < proto.IsolationFull {
			return
		}
		assert.Contains(t, crashes[0].GetCause(), "killed by the kernel: ")
		burnt, err := strconv.Atoi(s.try(t, "burn", "1s"))
		require.NoError(t, err)
		assert.Less(t, burnt, 700, "milliseconds of half a processor in a second")
	})
	t.Run("with less of the disk", func(t *testing.T) {
		row := s.deploy(t, attack, func(fn *proto.FunctionJson) { fn.Memory, fn.Cpu, fn.Disk = "", "", "8MiB" })
		s.all(t, []attackCase{{"file", "4", "worked"}, {"fill", "16", "killed"}, {"file", "4", "worked"}, {"ghost", "16", "killed"}})
		left, err := os.ReadDir(inFolder("functions", "attack", strconv.Itoa(int(row.GetVersion())), "tmp"))
		require.NoError(t, err)
		assert.Empty(t, left)
		crashes, err := s.Crashes(t.Context(), "Attack")
		require.NoError(t, err)
		assert.Contains(t, crashes[0].GetCause(), "more than the limit of 8 MiB (disk)")

		attack.Env = map[string]string{"FILL": "16"}
		defer func() { attack.Env = nil }()
		rows, err := s.Deploy(t.Context(), attack)
		require.NoError(t, err)
		assert.Equal(t, string(proto.Failed), rows[0].GetStatus(), "it fills the disk before it serves")
		assert.Contains(t, rows[0].GetError(), "more than the limit of 8 MiB (disk)")
	})
	t.Run("with more processes than may be", func(t *testing.T) {
		if s.walls.Tier() < proto.IsolationStrong {
			t.Skip("nothing bounds them")
		}
		s.deploy(t, attack, func(fn *proto.FunctionJson) { fn.Disk, fn.Allow = "", []string{proto.AllowSubprocess} })
		s.all(t, []attackCase{{"children", "20", "worked"}, {"children", "1100", "EAGAIN"}, {"threads", "300", "worked"}, {"threads", "1100", "killed"}})
	})
}

func TestWhatAgentsCannotHoldIsRefused(t *testing.T) {
	a := start(t, t.TempDir())
	assert.Equal(t, a.walls.Tier().String(), a.Info().GetIsolation(), "proxies ask nobody who has less")
	_, err := a.Deploy(t.Context(), &proto.FunctionJson{Name: "F", Dir: source(t, says("F", "x")), Isolation: "full"})
	if a.walls.Tier() < proto.IsolationFull {
		require.ErrorIs(t, err, proto.ErrIncapable)
		require.ErrorContains(t, err, "function F is to be isolated by tier full, and this agent has tier "+a.walls.Tier().String())
		_, err = New(Config{Dir: t.TempDir(), Port: 9000, NoBuild: true, Isolation: proto.IsolationFull})
		require.ErrorIs(t, err, proto.ErrIncapable)
	}
}
