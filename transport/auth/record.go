package auth

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode/utf16"

	"github.com/Ishan27g/ryo-faas/proto"
)

const (
	maxRecordFile = 4 << 20 // after which a file of the record is set aside
	recordFiles   = 4       // that are kept, the current one among them
	maxText       = 200     // characters of a text in a line
	maxList       = 20      // texts of a list
	maxShown      = 10_000  // entries in one answer
	defaultShown  = 100
	// What is refused is recorded within a rate: at most so many entries in a span.
	maxRefusals = 60
	refusalSpan = time.Minute
)

// timeLayout is RFC 3339 whose texts sort as their times do.
const timeLayout = "2006-01-02T15:04:05.000000Z07:00"

// Others is where proxies that share what they keep record as one.
type Others interface {
	// Add records what is in the folder already. It does not wait.
	Add(*proto.AuditEntry)
	// Last returns the last n entries of all, newest first.
	Last(n int) ([]*proto.AuditEntry, error)
}

// Record is who did what: files of JSON lines in a folder, the last part of them.
type Record struct {
	folder string
	now    func() time.Time
	others Others // nil: nobody shares it

	mu       sync.Mutex // guards the fields below and the files
	begun    time.Time  // the span in which refusals are counted
	refusals int
	omitted  uint64 // since the last refusal that was recorded
	lent     bool   // another process sees to the size of the files
}

// OpenRecord returns the record in a folder, which it makes.
func OpenRecord(folder string) (*Record, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the audit log: %w", err)
	}
	return &Record{folder: folder, now: time.Now}, nil
}

// Share records for others, too, and shows what they have done. It is called before any
// other method.
func (r *Record) Share(others Others) { r.others = others }

// Lend says whether the folder is another process's for now. What is still recorded here is
// appended to its files, which that process alone sets aside.
func (r *Record) Lend(lent bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lent = lent
}

// The files of the record: what was done, and what was refused.
const (
	doneFile    = "done.jsonl"
	refusedFile = "refused.jsonl"
)

// Done records a call that was let in.
func (r *Record) Done(e *proto.AuditEntry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.write(doneFile, e)
}

// Refused records a call that was not, unless there were too many in the last minute.
func (r *Record) Refused(e *proto.AuditEntry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if now.Sub(r.begun) > refusalSpan {
		r.begun, r.refusals = now, 0
	}
	if r.refusals++; r.refusals > maxRefusals {
		r.omitted++
		return nil
	}
	e.Omitted, r.omitted = r.omitted, 0
	return r.write(refusedFile, e)
}

// write appends a line to a file.
func (r *Record) write(name string, e *proto.AuditEntry) error {
	e.Time = r.now().UTC().Format(timeLayout)
	line, err := encode(e)
	if err != nil {
		return err
	}
	path := filepath.Join(r.folder, name)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	size, err := appendLine(file, line)
	if err = errors.Join(err, file.Close()); err == nil && size > maxRecordFile && !r.lent {
		err = setAside(path)
	}
	if r.others != nil {
		r.others.Add(e)
	}
	return err
}

// appendLine returns the size of the file with the line. If the line before was not
// written whole, for lack of room or of power, it stays one of its own.
func appendLine(file *os.File, line []byte) (size int64, err error) {
	if size, err = file.Seek(0, io.SeekEnd); err != nil {
		return 0, err
	}
	if size > 0 {
		var last [1]byte
		if _, err := file.ReadAt(last[:], size-1); err != nil {
			return 0, err
		}
		if last[0] != '\n' {
			line = slices.Concat([]byte{'\n'}, line)
		}
	}
	n, err := file.Write(line)
	return size + int64(n), err
}

// setAside makes room for a new file, and removes the oldest.
func setAside(path string) error {
	for i := recordFiles - 1; i > 0; i-- {
		from := path
		if i > 1 {
			from = fmt.Sprintf("%s.%d", path, i-1)
		}
		if err := os.Rename(from, fmt.Sprintf("%s.%d", path, i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Last returns the last n entries, newest first; 0 means a usual number. Where they are
// shared and cannot be had, it returns those of the folder.
func (r *Record) Last(n uint32) ([]*proto.AuditEntry, error) {
	limit := int(min(cmp.Or(n, defaultShown), maxShown))
	if r.others != nil {
		if list, err := r.others.Last(limit); err == nil {
			return list, nil
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	list := []*proto.AuditEntry{}
	for _, name := range []string{doneFile, refusedFile} {
		entries, err := r.read(filepath.Join(r.folder, name), limit)
		if err != nil {
			return nil, err
		}
		list = append(list, entries...)
	}
	slices.SortStableFunc(list, func(a, b *proto.AuditEntry) int { return strings.Compare(b.GetTime(), a.GetTime()) })
	return list[:min(limit, len(list))], nil
}

// read returns the last entries of a file and of those set aside, newest first.
func (r *Record) read(path string, limit int) (list []*proto.AuditEntry, err error) {
	for i := 0; i < recordFiles && len(list) < limit; i++ {
		name := path
		if i > 0 {
			name = fmt.Sprintf("%s.%d", path, i)
		}
		data, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		entries := decode(data)
		slices.Reverse(entries)
		list = append(list, entries...)
	}
	return list[:min(limit, len(list))], nil
}

// entry is a line of the record.
type entry struct {
	Time      string   `json:"time"`
	Who       string   `json:"who"`
	Peer      string   `json:"peer,omitempty"`
	Call      string   `json:"call"`
	Functions []string `json:"functions,omitempty"`
	Packages  []string `json:"packages,omitempty"`
	Token     string   `json:"token,omitempty"`
	Agent     string   `json:"agent,omitempty"`
	Result    string   `json:"result"`
	Error     string   `json:"error,omitempty"`
	RequestID string   `json:"requestId,omitempty"`
	Omitted   uint64   `json:"omitted,omitempty"`
}

// encode returns an entry as a line of ASCII without control bytes.
func encode(e *proto.AuditEntry) ([]byte, error) {
	data, err := json.Marshal(entry{
		e.GetTime(), cut(e.GetWho()), cut(e.GetPeer()), cut(e.GetCall()), cutAll(e.GetFunctions()), cutAll(e.GetPackages()), cut(e.GetToken()), cut(e.GetAgent()),
		e.GetResult(), cut(e.GetError()), cut(e.GetRequestId()), e.GetOmitted(),
	})
	if err != nil {
		return nil, err
	}
	return append(ascii(data), '\n'), nil
}

// cut keeps the beginning of what is too long for a line.
func cut(text string) string { return fmt.Sprintf("%.*s", maxText, text) }

func cutAll(list []string) (short []string) {
	for _, text := range list[:min(maxList, len(list))] {
		short = append(short, cut(text))
	}
	if n := len(list) - maxList; n > 0 {
		short = append(short, fmt.Sprintf("and %d more", n))
	}
	return short
}

// ascii escapes what is not printable ASCII. All of it stands in strings of JSON.
func ascii(data []byte) []byte {
	out := make([]byte, 0, len(data))
	for _, r := range string(data) {
		switch {
		case ' ' <= r && r <= '~':
			out = append(out, byte(r))
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, hi, lo)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}

// decode returns the entries of a file. A line that is not an entry, such as one that
// was not written whole, is skipped.
func decode(data []byte) (list []*proto.AuditEntry) {
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20) // far more than a line has
	for lines.Scan() {
		var e entry
		if json.Unmarshal(lines.Bytes(), &e) != nil || e.Time == "" {
			continue
		}
		list = append(list, &proto.AuditEntry{
			Time: e.Time, Who: e.Who, Peer: e.Peer, Call: e.Call, Functions: e.Functions, Packages: e.Packages, Token: e.Token, Agent: e.Agent,
			Result: e.Result, Error: e.Error, RequestId: e.RequestID, Omitted: e.Omitted,
		})
	}
	return list
}
