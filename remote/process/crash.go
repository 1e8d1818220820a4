package process

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// maxPanic bounds what is told of a panic, in bytes: its text and some ten
// goroutines.
const maxPanic = 16 << 10

// noMemory are the words of Go's runtime when the kernel gives it no memory. They
// come in lines that begin with "fatal error: " or "runtime: ".
var noMemory = []string{
	"out of memory", "cannot allocate memory", "cannot map pages in arena", "failed to reserve page summary memory",
	"errno=12", // ENOMEM, for a thread
}

// runtimeFault is what Go's runtime prints, then registers, when it follows a nil
// pointer on a stack of its own, where no code of the function's runs: under a
// limit, its collector does so when it is given no memory.
var runtimeFault = regexp.MustCompile(`(?m)^SIGSEGV: segmentation violation\nPC=.* addr=0x0\n\ngoroutine 0 `)

// OutOfMemory says why a process exited, and whether that was a lack of memory. Go's
// runtime fails at the process's own limit (Spec.Memory; 0: none), as the end of its
// output tells; or the kernel killed the process.
func OutOfMemory(exit Exit, limit int64, output string) (cause string, is bool) {
	if !exit.Starved && !failedForMemory(exit, output) && (limit == 0 || exit.Signal != 0 || !runtimeFault.MatchString(output)) {
		return exit.String(), false
	}
	var known []string
	if limit > 0 {
		known = append(known, "limit "+mebibytes(uint64(limit)))
	}
	if exit.Peak > 0 {
		known = append(known, "peak "+mebibytes(exit.Peak))
	}
	cause = exit.String() + ": out of memory"
	if exit.Starved {
		cause = exit.String() + " by the kernel: out of memory"
	}
	if len(known) > 0 {
		cause += " (" + strings.Join(known, ", ") + ")"
	}
	return cause, true
}

// Listens reports whether the end of a program's output says that it could not
// listen on an address.
func Listens(output string) bool {
	return strings.Contains(output, "bind: address already in use") || strings.Contains(output, "bind: permission denied")
}

// failedForMemory reports whether a Go program exited and said that for lack of memory.
func failedForMemory(exit Exit, output string) bool {
	if exit.Code == 0 || exit.Signal != 0 {
		return false
	}
	for line := range strings.Lines(output) {
		if !strings.HasPrefix(line, "fatal error: ") && !strings.HasPrefix(line, "runtime: ") {
			continue
		}
		if slices.ContainsFunc(noMemory, func(words string) bool { return strings.Contains(line, words) }) {
			return true
		}
	}
	return false
}

func mebibytes(n uint64) string { return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20)) }

// Panic finds in the end of a Go program's output why it crashed: the text of the
// panic or fatal error, then the goroutine that it came from and every other one
// with code of the function's own, within 16 KiB. It is "" when the output has
// neither.
func Panic(output string) string {
	output = strings.ToValidUTF8(output, "\uFFFD")
	at := lastLine(output, "panic: ", "fatal error: ", "SIGSEGV: ")
	if at < 0 {
		return ""
	}
	head, rest := cutGoroutine(output[at:])
	var text strings.Builder
	text.WriteString(head)
	for first := true; rest != ""; first = false {
		var goroutine string
		goroutine, rest = cutGoroutine(rest)
		if !first && !ownCode(goroutine) {
			continue
		}
		if text.Len()+len(goroutine) > maxPanic {
			break
		}
		text.WriteString(goroutine)
	}
	return strings.TrimSpace(clip(text.String(), maxPanic))
}

// lastLine is the offset of the last line with one of some beginnings, or -1.
func lastLine(text string, beginnings ...string) int {
	at, last := 0, -1
	for line := range strings.Lines(text) {
		if slices.ContainsFunc(beginnings, func(b string) bool { return strings.HasPrefix(line, b) }) {
			last = at
		}
		at += len(line)
	}
	return last
}

// cutGoroutine cuts a trace before its next goroutine, which begins with a line
// such as "goroutine 7 [select]:" after an empty one.
func cutGoroutine(text string) (goroutine, rest string) {
	const begin = "\n\ngoroutine "
	if next := strings.Index(text, begin); next >= 0 {
		return text[:next+2], text[next+2:]
	}
	return text, ""
}

// ownCode reports whether a goroutine runs, or was started by, code that is of
// neither the standard library nor the platform.
func ownCode(goroutine string) bool {
	for line := range strings.Lines(goroutine) {
		call := strings.TrimPrefix(line, "created by ")
		if strings.HasPrefix(call, "goroutine ") || strings.HasPrefix(call, "\t") || strings.HasPrefix(call, "...") {
			continue
		}
		if pkg := packageOf(call); pkg != "" && !platform(pkg) {
			return true
		}
	}
	return false
}

// packageOf is the import path in a line of a trace such as
// "example.com/a/b.(*T).Method(0x1)", in which dots of its last element are
// escaped; "" if there is none.
func packageOf(call string) string {
	call, _, _ = strings.Cut(call, "(")
	base := strings.LastIndexByte(call, '/') + 1
	name := strings.IndexByte(call[base:], '.')
	if name < 0 {
		return ""
	}
	return call[:base+name]
}

// platforms are the import paths, and those below them, that are no function's
// own: main is generated. The rest is the standard library, whose names no module
// of a function can have.
var platforms = strings.Fields(`main a.ryo.local github.com/GoogleCloudPlatform/functions-framework-go
	archive bufio bytes cmp compress container context crypto database debug embed encoding errors expvar flag fmt go hash
	html image index internal io iter log maps math mime net os path plugin reflect regexp runtime slices sort strconv
	strings structs sync syscall testing text time unicode unique unsafe vendor weak`)

func platform(pkg string) bool {
	return slices.ContainsFunc(platforms, func(p string) bool {
		below, ok := strings.CutPrefix(pkg, p)
		return ok && (below == "" || below[0] == '/')
	})
}

// clip cuts a text to a number of bytes, and says so.
func clip(text string, limit int) string {
	const cut = "\n…"
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit-len(cut)], "") + cut
}
