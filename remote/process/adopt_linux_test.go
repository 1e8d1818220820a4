package process

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// nobody is a plain user.
const nobody = 65534

// users are all that this process can start programs as: itself, and as root a
// plain user too.
func users() map[string]*syscall.Credential {
	list := map[string]*syscall.Credential{"as " + strconv.Itoa(os.Getuid()): nil}
	if os.Getuid() == 0 {
		list["as a plain user"] = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	return list
}

// The parts of an agent and its heir are played by this program, started again
// with what it is to do, a folder, the program of the function and its part.
const (
	rolePlay   = "ryo-test-agent"  // runs the function until it is killed
	roleExec   = "ryo-test-exec"   // runs it and becomes the heir
	roleHeir   = "ryo-test-heir"   // adopts it
	roleCrash  = "ryo-test-crash"  // the same, and kills it
	roleLate   = "ryo-test-late"   // runs it, stops it, and becomes the heir
	roleStarve = "ryo-test-starve" // runs a hog until it exits
	roleKill   = "ryo-test-kill"   // runs it and kills it
	heldFn     = "fn"              // name of its sockets
	heldCtl    = "fn/1 control"    // and of its control connection
)

// heard is what an heir tells.
type heard struct {
	Served string
	Stats  Stats
	Usage  Usage
	Exit   Exit
	Named  string
}

func role(args []string) (code int, is bool) {
	if len(args) != 4 {
		return 0, false
	}
	var err error
	switch args[0] {
	case rolePlay, roleExec, roleLate:
		err = play(args)
	case roleHeir, roleCrash:
		err = inherit(args)
	case roleStarve, roleKill:
		err = starve(args)
	case roleSecond:
		return second(), true
	default:
		return 0, false
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}

func play(args []string) error {
	dir := args[1]
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	h, err := OpenHolder(ctx, filepath.Join(dir, "holder"), dir)
	if err != nil {
		return err
	}
	sockets, err := Listen("127.0.0.1:0", filepath.Join(dir, "fn.sock"))
	if err != nil {
		return err
	}
	p, err := Start(Spec{Path: args[2], Dir: dir, Mount: "/fn", Env: []string{"CHILD=" + args[3]}, Sockets: sockets})
	if err != nil {
		return err
	}
	if err := p.Ready(ctx); err != nil {
		return err
	}
	files, err := sockets.Files()
	if err != nil {
		return err
	}
	control, err := p.ControlFile()
	if err != nil {
		return err
	}
	if err := errors.Join(h.Put(heldFn, files...), h.Put(heldCtl, control)); err != nil {
		return err
	}
	id, err := json.Marshal(p.Identity())
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "id"), id, 0o600); err != nil {
		return err
	}
	switch args[0] {
	case roleLate:
		// Its end is to be unknown here: what waits for it is frozen with this thread.
		if err := unix.Kill(p.Pid(), unix.SIGKILL); err != nil {
			return err
		}
		fallthrough
	case roleExec:
		return syscall.Exec(self, []string{roleHeir, dir, args[2], args[3]}, os.Environ())
	}
	fmt.Println("running")
	select {}
}

func inherit(args []string) error {
	dir := args[1]
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	h, err := OpenHolder(ctx, filepath.Join(dir, "holder"), dir)
	if err != nil {
		return err
	}
	all, err := h.All()
	if err != nil {
		return err
	}
	var id Identity
	text, err := os.ReadFile(filepath.Join(dir, "id"))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &id); err != nil {
		return err
	}
	sockets, err := Adopted(all[heldFn])
	if err != nil {
		return err
	}
	p, err := Adopt(ctx, id, all[heldCtl][0])
	if err != nil {
		return err
	}
	var told heard
	if err := p.Ready(ctx); err == nil {
		if told.Served, err = get("unix", sockets.Path(), ""); err != nil {
			return err
		}
		told.Stats, err = p.Stats(ctx)
		if err != nil {
			return err
		}
		if told.Usage, err = p.Usage(); err != nil {
			return err
		}
	}
	if args[0] == roleCrash {
		if err := unix.Kill(p.Pid(), unix.SIGKILL); err != nil {
			return err
		}
		<-p.Done()
	}
	told.Exit = p.Stop(ctx, patience)
	told.Named = told.Exit.String()
	if err := errors.Join(h.Stop(), sockets.Close()); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(told)
}

// starve joins the cgroup of a folder and runs a hog.
func starve(args []string) error {
	if err := os.WriteFile(filepath.Join(args[1], "cgroup.procs"), []byte("0"), 0o600); err != nil {
		return err
	}
	sockets, err := Listen("127.0.0.1:0", "")
	if err != nil {
		return err
	}
	defer sockets.Close()
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	p, err := Start(Spec{Path: args[2], Dir: "/", Mount: "/fn", Env: []string{"CHILD=" + args[3], "GOGC=off"}, Sockets: sockets, Stdout: in})
	if err != nil {
		return err
	}
	if _, err := fmt.Fscanln(out, new(string), new(int)); err != nil { // it waits
		return err
	}
	if args[0] == roleKill {
		p.Stop(context.Background(), 0)
	} else if err := unix.Kill(p.Pid(), unix.SIGUSR1); err != nil {
		return err
	}
	<-p.Done()
	cause, _ := OutOfMemory(p.Exit(), 0, "")
	fmt.Print(cause)
	return nil
}

// cast is where parts are played.
type cast struct {
	t    *testing.T
	cred *syscall.Credential
	dir  string
}

func newCast(t *testing.T, cred *syscall.Credential) *cast {
	t.Helper()
	dir, err := os.MkdirTemp("", "adopt-") //nolint:usetesting // a plain user cannot reach those of testing
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if cred != nil {
		require.NoError(t, os.Chown(dir, int(cred.Uid), int(cred.Gid)))
	}
	t.Cleanup(func() { // what remains
		_, err := Leftovers(context.Background(), filepath.Dir(childPath))
		require.NoError(t, err)
	})
	return &cast{t, cred, dir}
}

func (c *cast) command(role, part string) (cmd *exec.Cmd, out *bytes.Buffer) {
	out = new(bytes.Buffer)
	cmd = exec.CommandContext(c.t.Context(), self)
	cmd.Args = []string{role, c.dir, childPath, part}
	cmd.Env = []string{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.cred}
	return cmd, out
}

// agent plays the agent until it is killed.
func (c *cast) agent(part string) {
	c.t.Helper()
	cmd, _ := c.command(rolePlay, part)
	cmd.Stdout = nil
	out, err := cmd.StdoutPipe()
	require.NoError(c.t, err)
	require.NoError(c.t, cmd.Start())
	var word string
	_, err = fmt.Fscan(out, &word)
	assert.NoError(c.t, err)
	assert.NoError(c.t, cmd.Process.Kill())
	require.EqualError(c.t, cmd.Wait(), "signal: killed")
}

func (c *cast) run(role, part string) heard {
	c.t.Helper()
	told, err := c.try(role, part)
	require.NoError(c.t, err)
	return told
}

func (c *cast) try(role, part string) (told heard, err error) {
	cmd, out := c.command(role, part)
	if err := cmd.Run(); err != nil {
		return told, fmt.Errorf("%w: %s", err, out)
	}
	return told, json.Unmarshal(out.Bytes(), &told)
}

func TestFunctionsOutliveTheirAgent(t *testing.T) {
	for name, cred := range users() {
		t.Run(name, func(t *testing.T) {
			for heir, want := range map[string]string{roleHeir: "exit status 0", roleCrash: "signal: killed"} {
				c := newCast(t, cred)
				c.agent("serve")
				told := c.run(heir, "serve")
				pid, err := strconv.Atoi(told.Served)
				require.NoError(t, err)
				assert.NotZero(t, pid)
				assert.EqualValues(t, 1, told.Stats.Requests)
				assert.NotZero(t, told.Usage.Resident)
				if !told.Exit.Unknown { // before Linux 6.15
					assert.Equal(t, want, told.Named)
				}
				waitExited(t, pid)
			}
		})
	}
}

func TestAnAgentThatExecsKeepsItsChildren(t *testing.T) {
	for name, cred := range users() {
		t.Run(name, func(t *testing.T) {
			told := newCast(t, cred).run(roleExec, "serve")
			assert.NotEmpty(t, told.Served)
			assert.Equal(t, "exit status 0", told.Named)
			// On a busy machine its end may be known before the exec; then nothing is left to adopt.
			var err error
			for range 10 {
				if told, err = newCast(t, cred).try(roleLate, "serve"); err == nil || !strings.Contains(err.Error(), unix.ESRCH.Error()) {
					break
				}
			}
			require.NoError(t, err)
			assert.Empty(t, told.Served)
			assert.Equal(t, "signal: killed", told.Named)
		})
	}
}

func TestTheEndOfAnAdoptedProcessIsKnown(t *testing.T) {
	for name, reap := range map[string]bool{"before it is reaped": false, "when it has been": true} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("sh", "-c", "exit 7")
			require.NoError(t, cmd.Start())
			id, err := identity(cmd.Process.Pid)
			require.NoError(t, err)
			fd, err := unix.PidfdOpen(id.Pid, 0)
			require.NoError(t, err)
			a := &adopted{id, pollable(fd)}
			a.await()
			if reap {
				require.Error(t, cmd.Wait())
			}
			exit := a.collect()
			if !reap {
				require.Error(t, cmd.Wait())
			}
			if !exit.Unknown || !reap { // before Linux 6.15
				assert.Equal(t, "exit status 7", exit.String())
			}
			a.signal(unix.SIGKILL) // reaches no process
		})
	}
}

// stranger is a process that leads a session and is no function.
func stranger(t *testing.T) Identity {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	require.NoError(t, cmd.Start())
	id, err := identity(cmd.Process.Pid)
	require.NoError(t, err)
	t.Cleanup(func() {
		is, err := readStat(id.Pid)
		assert.NoError(t, err)
		assert.Contains(t, "RSD", string(is.state), "it was not signalled")
		assert.NoError(t, cmd.Process.Kill())
		assert.EqualError(t, cmd.Wait(), "signal: killed")
	})
	id.Nonce = "abc"
	return id
}

// impostor is the agent's end of a connection at whose other end somebody
// answers all with one text.
func impostor(t *testing.T, says string) *os.File {
	t.Helper()
	ours, theirs, err := controlPair()
	require.NoError(t, err)
	file, err := ours.(*net.UnixConn).File()
	require.NoError(t, err)
	require.NoError(t, ours.Close())
	other := os.NewFile(uintptr(theirs), "impostor")
	t.Cleanup(func() { file.Close(); other.Close() })
	if says != "" {
		for range maxStale + 2 {
			_, err = fmt.Fprintf(other, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(says), says)
			require.NoError(t, err)
		}
	}
	return file
}

func TestStrangersAreNotAdopted(t *testing.T) {
	s := newStage(t)
	p := s.ready()
	control, err := p.ControlFile()
	require.NoError(t, err)
	defer control.Close()
	right := p.Identity()
	with := func(change func(*Identity)) Identity {
		id := right
		change(&id)
		return id
	}
	sleeper := stranger(t)
	for name, test := range map[string]struct {
		id      Identity
		control *os.File
		want    string
	}{
		"another start":        {with(func(id *Identity) { id.Start-- }), control, "its number is another process's now"},
		"another boot":         {with(func(id *Identity) { id.Boot = sleeper.Nonce }), control, "its number is another process's now"},
		"another nonce":        {with(func(id *Identity) { id.Nonce += "x" }), control, "it does not know its nonce"},
		"no nonce":             {with(func(id *Identity) { id.Nonce = "" }), control, "it does not know its nonce"},
		"a stranger's pid":     {with(func(id *Identity) { id.Pid, id.Start = sleeper.Pid, sleeper.Start-1 }), control, "its number is another process's now"},
		"a stranger, silent":   {sleeper, impostor(t, ""), "context deadline exceeded"},
		"a stranger, babbling": {sleeper, impostor(t, `{"q":"abc","nonce":"abc"}`), "it answers what it was not asked"},
		"nobody's pid":         {with(func(id *Identity) { id.Pid = 1 << 22 }), control, "no such process"},
		"init":                 {with(func(id *Identity) { id.Pid = 1 }), control, "cannot have been a function's"},
		"everybody":            {with(func(id *Identity) { id.Pid = -1 }), control, "cannot have been a function's"},
		"oneself":              {with(func(id *Identity) { id.Pid = os.Getpid() }), control, "cannot have been a function's"},
		"no process":           {Identity{}, control, "cannot have been a function's"},
		"no connection":        {right, os.Stdin, ""},
		"who leads no session": {strayIdentity(t), control, "it does not lead a session"},
	} {
		t.Run(name, func(t *testing.T) {
			limit := patience
			if test.want == context.DeadlineExceeded.Error() {
				limit = 50 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			_, err := Adopt(ctx, test.id, test.control)
			require.ErrorContains(t, err, test.want)
		})
	}
	require.NoError(t, p.Health(t.Context()), "it has not been signalled either")
}

func strayIdentity(t *testing.T) Identity {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	id, err := identity(cmd.Process.Pid)
	require.NoError(t, err)
	return id
}

// An agent may have been killed while it waited for answers.
func TestAdoptSkipsAnswersToOthers(t *testing.T) {
	s := newStage(t)
	p := s.ready()
	control, err := p.ControlFile()
	require.NoError(t, err)
	defer control.Close()
	for range maxStale / 2 {
		_, err := control.WriteString("GET /_ryo/healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /_ryo/stats?q=old HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
	}
	conn, err := net.FileConn(control)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, prove(t.Context(), newControl(conn), p.Identity().Nonce))
}

func BenchmarkAdopt(b *testing.B) {
	sockets, err := Listen("127.0.0.1:0", "")
	require.NoError(b, err)
	defer sockets.Close()
	p, err := Start(Spec{Path: childPath, Dir: b.TempDir(), Mount: "/fn", Env: []string{"CHILD=serve"}, Sockets: sockets})
	require.NoError(b, err)
	defer p.Stop(b.Context(), 0)
	require.NoError(b, p.Ready(b.Context()))
	control, err := p.ControlFile()
	require.NoError(b, err)
	defer control.Close()
	for b.Loop() {
		pidfd, err := openIdentified(p.Identity())
		require.NoError(b, err)
		conn, err := net.FileConn(control)
		require.NoError(b, err)
		require.NoError(b, prove(b.Context(), newControl(conn), p.Identity().Nonce))
		conn.Close()
		pidfd.Close()
	}
}
