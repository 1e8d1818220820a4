package dashboard

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

const (
	// maxLines bounds the lines that a page has; the script removes the oldest above it.
	maxLines = 500
	// firstLines are there when the page opens.
	firstLines = 200
	// gatherFor is how long lines that come are gathered: a function that prints much makes
	// few events.
	gatherFor = 100 * time.Millisecond
	// maxLine bounds a line, in bytes.
	maxLine = 4 << 10
)

// logsBody is the page of a log.
type logsBody struct {
	Lines    []logLine
	Grep, ID string
	Version  string
}

// logLine is a line as pages show it.
type logLine struct{ Time, When, Level, Class, Text, Version, ID, Agent string }

func lineOf(l *proto.LogLine) logLine {
	line := logLine{Text: clip(l.GetText(), maxLine), Version: versionText(l.GetVersion()), ID: l.GetId(), Agent: l.GetAtAgent(), When: l.GetTime()}
	if at, err := time.Parse(time.RFC3339, l.GetTime()); err == nil {
		line.Time = at.UTC().Format("15:04:05.000")
	}
	if text := plainText(l.GetText()); text != "" {
		line.Text = clip(text, maxLine)
	}
	level := strings.ToUpper(l.GetLevel())
	line.Level = level
	switch level {
	case "ERROR", "FATAL", "CRITICAL", "PANIC", "ALERT", "EMERGENCY":
		line.Class = "bad"
	case "WARN", "WARNING":
		line.Class = "warn"
	case "":
		if l.GetStream() == "stderr" {
			line.Level = "stderr"
		}
	}
	return line
}

// request is what is asked of a log.
func (b *logsBody) request(name string) (*proto.LogsRequest, error) {
	req := &proto.LogsRequest{Name: name, Grep: b.Grep, Id: b.ID, Tail: firstLines}
	if b.Version != "" {
		n, err := proto.ParseCount(strings.TrimPrefix(b.Version, "v"))
		if err != nil {
			return nil, err
		}
		req.Version = n
	}
	return req, nil
}

func filterOf(q url.Values) logsBody {
	return logsBody{Grep: q.Get("grep"), ID: strings.TrimSpace(q.Get("id")), Version: strings.TrimSpace(q.Get("version"))}
}

// logsOf returns the last lines, and what the page's stream is asked for.
func (d *Dashboard) logsOf(v *visit, name string) (body logsBody, live url.Values, err error) {
	body = filterOf(v.r.URL.Query())
	req, err := body.request(name)
	if err != nil {
		return body, nil, err
	}
	err = v.api.Logs(v.r.Context(), req, func(batch *proto.LogLines) error {
		for _, l := range batch.GetLines() {
			body.Lines = append(body.Lines, lineOf(l))
		}
		return nil
	})
	if over := len(body.Lines) - maxLines; over > 0 {
		body.Lines = body.Lines[over:]
	}
	live = url.Values{"page": {"logs"}, "name": {name}, "grep": {body.Grep}, "id": {body.ID}, "version": {body.Version}}
	if n := len(body.Lines); n > 0 {
		live.Set("after", body.Lines[n-1].When)
	}
	return body, live, err
}

// followLog sends the lines of a log as they come, gathered.
func (d *Dashboard) followLog(v *visit, q url.Values, s *sender) error {
	filter := filterOf(q)
	req, err := filter.request(q.Get("name"))
	if err != nil {
		return err
	}
	after, err := time.Parse(time.RFC3339, q.Get("after"))
	if err != nil { // the page had no line
		after = time.Time{}
	}
	req.Follow = true
	if !after.IsZero() {
		req.Since, req.Tail = after.Format(time.RFC3339Nano), maxLines
	}
	ctx, cancel := context.WithCancel(v.r.Context())
	defer cancel()
	batches, done := make(chan *proto.LogLines), make(chan struct{})
	var lost error // of Logs; set before done is closed
	go func() {
		defer close(done)
		lost = v.api.Logs(ctx, req, func(batch *proto.LogLines) error {
			select {
			case batches <- batch:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	defer func() {
		cancel()
		<-done
	}()
	beat := time.NewTicker(wire.Heartbeat)
	defer beat.Stop()
	var waiting []logLine
	var due <-chan time.Time
	for {
		select {
		case batch := <-batches:
			for _, l := range batch.GetLines() {
				if at, err := time.Parse(time.RFC3339, l.GetTime()); err == nil && !at.After(after) {
					continue // the page has it
				}
				waiting = append(waiting, lineOf(l))
			}
			if n := batch.GetLost(); n > 0 {
				waiting = append(waiting, logLine{Class: "warn", Text: strconv.FormatUint(n, 10) + " lines were lost: they came too fast"})
			}
			if over := len(waiting) - maxLines; over > 0 {
				waiting = waiting[over:]
			}
			if due == nil && len(waiting) > 0 {
				due = time.After(gatherFor)
			}
		case <-due:
			html, err := d.part("lines", waiting)
			if err == nil {
				err = s.write(piece{ID: "log", HTML: html, Add: true})
			}
			if err != nil {
				return ignoreGone(err)
			}
			waiting, due = nil, nil
		case <-beat.C:
			if err := s.beat(); err != nil {
				return ignoreGone(err)
			}
		case <-done:
			return cmp.Or(lost, error(proto.Errorf(proto.ErrUnavailable, "the log has ended")))
		}
	}
}

func itoa(n int) string { return strconv.Itoa(n) }

// plainText returns what a line of JSON says: its message, then its other fields. It is ""
// for other lines, and for those without a message.
func plainText(line string) string {
	if !strings.HasPrefix(line, "{") {
		return ""
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal([]byte(line), &fields) != nil {
		return ""
	}
	text := func(raw json.RawMessage) string {
		var s string
		if json.Unmarshal(raw, &s) == nil {
			return s
		}
		return string(raw)
	}
	var b strings.Builder
	for _, key := range []string{"msg", "message"} {
		if b.Len() == 0 {
			b.WriteString(text(fields[key]))
		}
		delete(fields, key)
	}
	if b.Len() == 0 {
		return ""
	}
	for _, key := range []string{"time", "timestamp", "ts", "level", "severity", "execution_id", "logging.googleapis.com/labels"} { // beside the text
		delete(fields, key)
	}
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		b.WriteString(" " + key + "=" + text(fields[key]))
	}
	return b.String()
}
