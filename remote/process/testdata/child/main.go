// Child is what the tests of package process start. Its first and only part is
// chosen by the variable CHILD.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	listeners, _ := strconv.Atoi(os.Getenv("RYO_LISTEN"))
	control := 3 + listeners
	switch part, arg, _ := strings.Cut(os.Getenv("CHILD"), ":"); part {
	case "serve":
		serve(listeners)
	case "exit":
		code, _ := strconv.Atoi(arg)
		os.Exit(code)
	case "crash":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "silent":
		wait()
	case "babble":
		babble(control)
	case "leave":
		_ = syscall.Close(control)
		wait()
	case "sick":
		sick(control)
	case "deaf": // ignores SIGTERM, and so does its child
		signal.Ignore(syscall.SIGTERM)
		family(false)
		wait()
	case "orphan": // ends, its child does not
		signal.Ignore(syscall.SIGTERM)
		family(false)
	case "stray": // its child has left its process group
		family(true)
		wait()
	case "flood":
		line := strings.Repeat("x", 1<<20-1) + "\n"
		for {
			if _, err := os.Stdout.WriteString(line); err != nil {
				os.Exit(1)
			}
		}
	case "panic":
		panic("boom")
	case "hog":
		if arg == "later" {
			usr := make(chan os.Signal, 1)
			signal.Notify(usr, syscall.SIGUSR1)
			fmt.Println("waiting 1")
			<-usr
		}
		hog()
	case "report":
		report()
	}
}

func wait() {
	fmt.Println("waiting")
	for {
		time.Sleep(time.Hour)
	}
}

// family starts a child, in a process group of its own or not, and prints its
// number. The child ignores SIGTERM if its parent does.
func family(apart bool) {
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: apart}
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	fmt.Println("child", cmd.Process.Pid)
}

// counts is what stats tell.
type counts struct {
	sync.Mutex
	requests, inFlight, connections, sent int
	idle                                  time.Time
}

func (c *counts) add(requests, inFlight, connections, sent int) {
	c.Lock()
	defer c.Unlock()
	c.requests += requests
	c.inFlight += inFlight
	c.connections += connections
	c.sent += sent
	c.idle = time.Now()
}

func (c *counts) stats(q string) string {
	c.Lock()
	defer c.Unlock()
	idle := time.Since(c.idle)
	if c.connections > 0 {
		idle = 0
	}
	body, _ := json.Marshal(map[string]any{
		"q": q, "nonce": os.Getenv("RYO_NONCE"), "requests": c.requests, "inFlight": c.inFlight, "connections": c.connections,
		"idleMs": idle.Milliseconds(), "received": 0, "sent": c.sent,
	})
	return string(body)
}

// answer answers what the agent asks. A line "slow" on standard output tells that
// an answer is kept back until SIGUSR1.
func answer(control net.Conn, c *counts) {
	goOn := make(chan os.Signal, 1)
	signal.Notify(goOn, syscall.SIGUSR1)
	in := bufio.NewReader(control)
	for first := true; ; first = false {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if os.Getenv("CHILD") == "serve:slowly" && first {
			fmt.Println("slow 1")
			<-goOn
		}
		body := "ok"
		if r.URL.Path == "/_ryo/stats" {
			body = c.stats(r.URL.Query().Get("q"))
		}
		_, _ = fmt.Fprintf(control, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
}

func serve(listeners int) {
	count := &counts{idle: time.Now()}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		count.add(0, 1, 0, 0)
		if d, err := time.ParseDuration(r.URL.Query().Get("sleep")); err == nil {
			fmt.Println("call 1")
			time.Sleep(d)
		}
		n, _ := fmt.Fprint(w, os.Getpid())
		count.add(1, -1, 0, n)
	})}
	var accepting, connections sync.WaitGroup
	var open []net.Listener
	srv.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			connections.Add(1)
			count.add(0, 0, 1, 0)
		case http.StateClosed:
			connections.Done()
			count.add(0, 0, -1, 0)
		}
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM) // before anything is answered, after which it may come
	for fd := 3; fd < 3+listeners; fd++ {
		file := os.NewFile(uintptr(fd), "listener")
		l, err := net.FileListener(file)
		if err != nil {
			panic(err)
		}
		_ = file.Close()
		if u, ok := l.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false)
		}
		open = append(open, l)
		accepting.Go(func() { _ = srv.Serve(l) })
	}
	file := os.NewFile(uintptr(3+listeners), "control")
	control, err := net.FileConn(file)
	if err != nil {
		panic(err)
	}
	_ = file.Close()
	go answer(control, count)
	<-stop
	// Not Shutdown: it drops requests that were accepted but not read yet.
	srv.SetKeepAlivesEnabled(false)
	for _, l := range open {
		_ = l.Close()
	}
	accepting.Wait()
	_ = control.Close()
	connections.Wait()
}

func babble(control int) {
	file := os.NewFile(uintptr(control), "control")
	for {
		if _, err := file.WriteString("HTTP/1.1 babble "); err != nil {
			wait()
		}
	}
}

func sick(control int) {
	file := os.NewFile(uintptr(control), "control")
	_, _ = file.WriteString("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
	wait()
}

func hog() {
	var kept [][]byte
	for range 1 << 10 {
		b := make([]byte, 1<<20)
		for i := range b {
			b[i] = 1
		}
		kept = append(kept, b)
	}
	fmt.Println("kept", len(kept))
}

// report prints what the process was given.
func report() {
	dir, _ := os.Getwd()
	fmt.Println("dir", dir)
	fmt.Println("args", os.Args)
	env := os.Environ()
	sort.Strings(env)
	for _, e := range env {
		fmt.Println("env", e)
	}
	links, _ := filepath.Glob("/proc/self/fd/*")
	for _, link := range links {
		to, err := os.Readlink(link)
		if err != nil || strings.Contains(to, "/proc/") || strings.Contains(to, "anon_inode") || strings.HasPrefix(to, "/sys/") {
			continue // the listing itself, and what Go's runtime opens
		}
		fmt.Println("fd", filepath.Base(link), strings.TrimRight(to, "0123456789[]"))
	}
	fmt.Fprintln(os.Stderr, "standard error")
	var session int
	stat, _ := os.ReadFile("/proc/self/stat")
	_, _ = fmt.Sscan(strings.Fields(string(stat))[5], &session)
	fmt.Println("leads", session == os.Getpid() && syscall.Getpgrp() == os.Getpid())
}
