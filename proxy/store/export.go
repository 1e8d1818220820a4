package store

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
)

const (
	exportFolder = "exports"
	exportSuffix = ".export"
	// exportName is the layout of an export's name, in UTC: there is one of each hour.
	exportName = "20060102T15"
	// exportsKept is how many are kept: those of the last 24 hours in which something was
	// changed, or the proxy ran.
	exportsKept = 24
	// exportPause is how long after a change records are exported again.
	exportPause = time.Minute
	// exportAge is after which time they are exported though nothing has changed.
	exportAge = time.Hour
	// maxExport is what an export may have, in bytes, to be read.
	maxExport = 2 << 30
)

// exported are the kinds that an export has: what people have said, and what follows from
// that. Calls and messages are too many, and would be handled twice; of blobs, agents and
// people have the packages.
var exported = []Kind{Functions, Versions, Rollouts, Agents, Schedules, Settings}

// exportHead is the first line of an export. A line for each record follows.
type exportHead struct {
	Format  int       `json:"format"` // 1
	Epoch   string    `json:"epoch"`
	Time    time.Time `json:"time"`
	Records int       `json:"records"`
	SHA256  string    `json:"sha256"` // of the lines that follow
}

// exportRecord is a record in an export. Keys and values may have any bytes.
type exportRecord struct {
	Kind  Kind   `json:"kind"`
	Key   []byte `json:"key"`
	Value []byte `json:"value"`
}

// export returns the records as a file.
func (s *session) export(ctx context.Context) ([]byte, error) {
	head := exportHead{Format: 1, Epoch: s.epoch, Time: time.Now().UTC()}
	var lines bytes.Buffer
	out := json.NewEncoder(&lines)
	for _, kind := range exported {
		list, err := registry{kind: kind, session: s.itself}.List(ctx, "")
		if err != nil {
			return nil, err
		}
		for i := range list {
			if err := out.Encode(exportRecord{kind, []byte(list[i].Key), list[i].Value}); err != nil {
				return nil, err
			}
		}
		head.Records += len(list)
	}
	sum := sha256.Sum256(lines.Bytes())
	head.SHA256 = hex.EncodeToString(sum[:])
	first, err := json.Marshal(head)
	return append(append(first, '\n'), lines.Bytes()...), err
}

// readExport returns the records of an export, an ErrInvalid for what is none, or is damaged.
func readExport(r io.Reader) ([]exportRecord, error) {
	var head exportHead
	in := bufio.NewReader(io.LimitReader(r, maxExport))
	invalid := func(why string) error { return proto.Errorf(proto.ErrInvalid, "it is no export of a store: %s", why) }
	first, err := in.ReadBytes('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if json.Unmarshal(first, &head) != nil || head.Format != 1 {
		return nil, invalid("its first line does not say so")
	}
	body, err := io.ReadAll(in)
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != head.SHA256 {
		return nil, invalid("its digest is another one, it is damaged or not complete")
	}
	var records []exportRecord
	for line := range bytes.Lines(body) {
		var r exportRecord
		if json.Unmarshal(line, &r) != nil || !slices.Contains(exported, r.Kind) || CheckKey(string(r.Key)) != nil || len(r.Value) > MaxValue {
			return nil, invalid(fmt.Sprintf("its line %d is no record", len(records)+2))
		}
		records = append(records, r)
	}
	if len(records) != head.Records {
		return nil, invalid("it lacks records")
	}
	return records, nil
}

// load stores the records of an export. One that is there with another value is an
// ErrConflict, and nothing is stored, unless they are to be replaced.
func (s *session) load(ctx context.Context, records []exportRecord, replace bool) (stored int, err error) {
	type change struct {
		exportRecord
		revision uint64
	}
	var changes []change
	for _, r := range records {
		is, err := registry{kind: r.Kind, session: s.itself}.Get(ctx, string(r.Key))
		switch {
		case errors.Is(err, proto.ErrNotFound):
			changes = append(changes, change{exportRecord: r})
		case err != nil:
			return 0, err
		case bytes.Equal(is.Value, r.Value):
		case !replace:
			return 0, proto.Errorf(proto.ErrConflict, "%s: %s is there, and another one", r.Kind, r.Key).
				WithHint("import -replace replaces what is there")
		default:
			changes = append(changes, change{r, is.Revision})
		}
	}
	for _, c := range changes {
		to := registry{kind: c.Kind, session: s.itself}
		if c.revision == 0 {
			_, err = to.Create(ctx, string(c.Key), c.Value)
		} else {
			_, err = to.Update(ctx, string(c.Key), c.Value, c.revision)
		}
		if err != nil {
			return stored, err
		}
		stored++
	}
	return stored, nil
}

func (s *session) itself(context.Context) (*session, error) { return s, nil }

// exporter keeps exports of a session.
type exporter struct {
	of      *session
	at      marks     // what the last one has
	changed time.Time // when others were seen first; zero: there are none
	last    time.Time
}

// keep exports the records if that is due.
func (x *exporter) keep(ctx context.Context, s *session) error {
	now := time.Now()
	at := s.recordMarks()
	if x.of != s { // at each start there is one
		*x = exporter{of: s}
	}
	if x.changed.IsZero() && !maps.Equal(at, x.at) {
		x.changed = now
	}
	due := x.last.IsZero() || now.Sub(x.last) > exportAge || !x.changed.IsZero() && now.Sub(x.changed) > exportPause
	if !due {
		return nil
	}
	x.at, x.changed, x.last = at, time.Time{}, now
	data, err := s.export(ctx)
	if err != nil {
		return err
	}
	if err := s.dir.WriteFile(exportFolder+"/"+now.UTC().Format(exportName)+exportSuffix, data); err != nil {
		return err
	}
	list, err := exportsOf(s.dir.Path(exportFolder))
	if err != nil {
		return err
	}
	for len(list) > exportsKept {
		if err := os.Remove(list[0]); err != nil {
			return err
		}
		list = list[1:]
	}
	return nil
}

// recordMarks is how far the kinds were written that an export has.
func (s *session) recordMarks() marks {
	s.written.mu.Lock()
	defer s.written.mu.Unlock()
	at := marks{}
	for _, kind := range exported {
		if n := s.written.at["KV_"+bucket(kind)]; n > 0 {
			at["KV_"+bucket(kind)] = n
		}
	}
	return at
}

// exportsOf returns the exports in a folder, the oldest first.
func exportsOf(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var list []string
	for _, e := range entries { // they are ordered
		if strings.HasSuffix(e.Name(), exportSuffix) {
			list = append(list, filepath.Join(dir, e.Name()))
		}
	}
	return list, err
}
