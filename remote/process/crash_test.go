package process

import (
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOutOfMemory(t *testing.T) {
	killed := Exit{Code: -1, Signal: syscall.SIGKILL}
	starved := killed
	starved.Starved = true
	for name, test := range map[string]struct {
		exit   Exit
		limit  int64
		output string
		cause  string
		is     bool
	}{
		"Go's runtime":       {Exit{Code: 2, Peak: 190 << 20}, 192 << 20, "x\nfatal error: runtime: out of memory\n\nruntime stack:\n", "exit status 2: out of memory (limit 192 MiB, peak 190 MiB)", true},
		"its other words":    {Exit{Code: 2}, 64 << 20, "fatal error: runtime: cannot allocate memory\n", "exit status 2: out of memory (limit 64 MiB)", true},
		"a thread":           {Exit{Code: 2}, 0, "runtime: failed to create new OS thread (have 2 already; errno=12)\n", "exit status 2: out of memory", true},
		"its collector":      {Exit{Code: 2}, 64 << 20, "SIGSEGV: segmentation violation\nPC=0x4335bd m=2 sigcode=1 addr=0x0\n\ngoroutine 0 gp=0x2d26 m=2 [idle]:\n", "exit status 2: out of memory (limit 64 MiB)", true},
		"a fault of cgo's":   {Exit{Code: 2}, 64 << 20, "SIGSEGV: segmentation violation\nPC=0x4335bd m=2 sigcode=1 addr=0x0\n\ngoroutine 7 gp=0x2d26 m=2 [idle]:\n", "exit status 2", false},
		"without a limit":    {Exit{Code: 2}, 0, "SIGSEGV: segmentation violation\nPC=0x4335bd m=2 sigcode=1 addr=0x0\n\ngoroutine 0 gp=0x2d26 m=2 [idle]:\n", "exit status 2", false},
		"the kernel":         {starved, 0, "", "signal: killed by the kernel: out of memory", true},
		"a kill":             {killed, 64 << 20, "", "signal: killed", false},
		"a panic":            {Exit{Code: 2}, 64 << 20, "panic: out of memory\n", "exit status 2", false},
		"the function's log": {Exit{Code: 1}, 64 << 20, "db: out of memory\n", "exit status 1", false},
		"an orderly end":     {Exit{}, 64 << 20, "fatal error: runtime: out of memory\n", "exit status 0", false},
		"an unknown end":     {Exit{Code: -1, Unknown: true}, 64 << 20, "fatal error: runtime: out of memory\n", "exit status unknown: out of memory (limit 64 MiB)", true},
	} {
		t.Run(name, func(t *testing.T) {
			cause, is := OutOfMemory(test.exit, test.limit, test.output)
			assert.Equal(t, test.cause, cause)
			assert.Equal(t, test.is, is)
		})
	}
}

const trace = `2026/01/01 panic: not this one
panic: not this one either
hello
panic: boom
	panic: again [recovered]

goroutine 7 [running]:
panic({0x6b1020?, 0x7a2c10?})
	/usr/local/go/src/runtime/panic.go:783 +0x132
net/http.(*conn).serve(0xc0000f0000, {0x7a3e48, 0xc0000b4000})
	/usr/local/go/src/net/http/server.go:2075 +0x625
created by net/http.(*Server).Serve in goroutine 1
	/usr/local/go/src/net/http/server.go:3454 +0x485

goroutine 1 [select]:
a.ryo.local/serve.serve(0xc00007e000)
	a.ryo.local/serve/serve.go:180 +0x1
main.main()
	example.com/hello/zz_ryo_main/main.go:12 +0x1d

goroutine 18 [IO wait]:
internal/poll.runtime_pollWait(0x1, 0x72)
	/usr/local/go/src/runtime/netpoll.go:351 +0x85
created by a.ryo.local/serve.serve in goroutine 1
	a.ryo.local/serve/serve.go:160 +0x1

goroutine 20 [chan receive]:
example.com/hello.(*pool[...]).work(...)
	example.com/hello/pool.go:9 +0x1d
created by example.com/hello.init.0 in goroutine 1
	example.com/hello/pool.go:5 +0x1d

goroutine 21 [sleep]:
time.Sleep(0x1)
	/usr/local/go/src/runtime/time.go:363 +0x145
created by hello.Start in goroutine 1
	hello/start.go:5 +0x1d
exit status 2
`

func TestPanicKeepsTheFunctionsOwnGoroutines(t *testing.T) {
	got := Panic(trace)
	assert.True(t, strings.HasPrefix(got, "panic: boom\n\tpanic: again [recovered]\n\ngoroutine 7 [running]:\npanic("), got)
	for _, want := range []string{"goroutine 20 ", "hello/pool.go:9", "goroutine 21 ", "hello/start.go:5"} {
		assert.Contains(t, got, want)
	}
	for _, not := range []string{"goroutine 1 [", "goroutine 18 ", "not this one"} {
		assert.NotContains(t, got, not)
	}
}

func TestPanicOfOtherOutput(t *testing.T) {
	for output, want := range map[string]string{
		"":                           "",
		"hello\n":                    "",
		"http: panic serving x: y\n": "",
		"fatal error: all goroutines are asleep - deadlock!\n": "fatal error: all goroutines are asleep - deadlock!",
		"panic: \xff": "panic: \uFFFD",
	} {
		assert.Equal(t, want, Panic(output))
	}
	assert.Len(t, Panic("panic: "+strings.Repeat("x", 1<<20)), maxPanic)
	long := "panic: x\n\n" + strings.Repeat("goroutine 1 [running]:\nexample.com/f.F()\n\t/f.go:1\n\n", 1<<10)
	assert.LessOrEqual(t, len(Panic(long)), maxPanic)
	assert.True(t, strings.HasSuffix(Panic(long), "/f.go:1"), "no goroutine is cut in two")
}

// What a real program prints.
func TestPanicOfAProcess(t *testing.T) {
	s := newStage(t)
	p := s.start("panic")
	within(t, p.Done())
	text := s.printed()
	got := Panic(text)
	assert.True(t, strings.HasPrefix(got, "panic: boom\n\ngoroutine "), got)
	assert.Contains(t, got, "main.go:")
	cause, is := OutOfMemory(p.Exit(), 0, text)
	assert.Equal(t, "exit status 2", cause)
	assert.False(t, is)
}

func FuzzPanic(f *testing.F) {
	f.Add(trace)
	f.Add("panic: a\n\ngoroutine 1 [running]:\nf(\ncreated by (/.\n\n\ngoroutine ")
	f.Add("fatal error: runtime: out of memory\n\nruntime stack:\nx.y.(*z[...])\n")
	f.Add("panic: \xff\xc3")
	f.Fuzz(func(t *testing.T, output string) {
		got := Panic(output)
		require.LessOrEqual(t, len(got), maxPanic)
		require.True(t, utf8.ValidString(got))
		if !strings.Contains(output, "panic: ") && !strings.Contains(output, "fatal error: ") {
			require.Empty(t, got)
		}
	})
}
