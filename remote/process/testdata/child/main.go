// Child is what the tests of package process start. Its first and only part is
// chosen by the variable CHILD.
package main

import (
	"bufio"
	"fmt"
	"io"
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
	case "hog":
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

func serve(listeners int) {
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d, err := time.ParseDuration(r.URL.Query().Get("sleep")); err == nil {
			fmt.Println("call 1")
			time.Sleep(d)
		}
		fmt.Fprint(w, os.Getpid())
	})}
	var accepting, connections sync.WaitGroup
	var open []net.Listener
	srv.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			connections.Add(1)
		case http.StateClosed:
			connections.Done()
		}
	}
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
	go func() {
		in := bufio.NewReader(control)
		for {
			if _, err := http.ReadRequest(in); err != nil {
				return
			}
			_, _ = io.WriteString(control, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	}()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
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
