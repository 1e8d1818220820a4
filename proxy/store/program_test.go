package store_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proxy/store"
)

// programs are what the test's binary does as a process of its own, with a folder.
var programs = map[string]func(cfg store.Config) error{
	"node": runNode,
	// consume stores a message and handles it for ever.
	"consume": func(cfg store.Config) error {
		e, err := store.Open(cfg)
		if err != nil {
			return err
		}
		if _, err := e.Queue().Publish(context.Background(), store.Message{Topic: "a", Data: []byte("the message")}); err != nil {
			return err
		}
		return e.Queue().Consume(context.Background(), "a", 1, func(_ context.Context, m store.Message, attempt int) store.Verdict {
			fmt.Printf("handles %s, attempt %d\n", m.Data, attempt)
			select {}
		})
	},
	// put stores a part of a blob.
	"put": func(cfg store.Config) error {
		e, err := store.Open(cfg)
		if err != nil {
			return err
		}
		_, err = e.Blobs().Put(context.Background(), "large", io.MultiReader(bytes.NewReader(make([]byte, 4<<20)), endless{}))
		return err
	},
	// storm stores records and messages as fast as it can, and prints the name of each that
	// was acknowledged.
	"storm": func(cfg store.Config) error {
		began := time.Now()
		e, err := store.Open(cfg)
		if err != nil {
			return err
		}
		if err := e.Err(); err != nil {
			return err
		}
		fmt.Println("ready", time.Since(began).Milliseconds())
		go e.Run(context.Background())
		failed := make(chan error)
		for w := range 8 {
			go func() {
				for i := 0; ; i++ {
					name := fmt.Sprintf("%d-%d-%d", os.Getpid(), w, i)
					var err error
					kind := "record"
					if i%2 == 0 {
						_, err = e.Registry(store.Functions).Create(context.Background(), name, []byte(name))
					} else {
						kind = "message"
						_, err = e.Queue().Publish(context.Background(), store.Message{Topic: "storm", ID: name, Data: []byte(name)})
					}
					if err != nil {
						failed <- err
						return
					}
					fmt.Println(kind, name)
				}
			}()
		}
		return <-failed
	},
}

// terminated returns a context that ends when the process is to end.
func terminated() (ctx context.Context, stop func()) {
	return signal.NotifyContext(context.Background(), syscall.SIGTERM)
}

// endless says that it is read, and never returns.
type endless struct{}

func (endless) Read([]byte) (int, error) {
	fmt.Println("a part is stored")
	select {}
}

// program runs the one that the environment names, if any.
func program() {
	name := os.Getenv("STORE_TEST_PROGRAM")
	if name == "" {
		return
	}
	if err := programs[name](store.Config{Dir: os.Getenv("STORE_TEST_DIR")}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// process is a program that runs.
type process struct {
	*exec.Cmd
	out *bufio.Scanner
}

func spawn(t *testing.T, name, dir string, env ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(os.Args[0])}
	p.Env = append(append(os.Environ(), "STORE_TEST_PROGRAM="+name, "STORE_TEST_DIR="+dir), env...)
	p.Stderr = os.Stderr
	out, err := p.StdoutPipe()
	require.NoError(t, err)
	p.out = bufio.NewScanner(out)
	require.NoError(t, p.Start())
	t.Cleanup(func() {
		_ = p.Process.Kill()
		_ = p.Wait()
	})
	return p
}

// line is the next one that it prints.
func (p *process) line(t *testing.T) string {
	t.Helper()
	require.True(t, p.out.Scan(), "it has ended")
	return p.out.Text()
}
