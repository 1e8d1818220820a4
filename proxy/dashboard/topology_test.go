package dashboard

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

// many returns functions on agents, of which some are not well.
func many(agents, functions, each int) (rows []*proto.FunctionJsonRsp, all []*proto.AgentState) {
	for a := range agents {
		all = append(all, &proto.AgentState{Addr: fmt.Sprintf("machine-%02d.example.com:9000", a), Connected: a != 1, Draining: a == 2})
	}
	for f := range functions {
		for i := range each {
			row := &proto.FunctionJsonRsp{
				Name: fmt.Sprintf("FunctionWithALongName%03d", f), AtAgent: all[(f+i)%agents].GetAddr(), Status: string(proto.Deployed), Version: uint32(f%9 + 1), Instances: uint32(f % 4), //nolint:gosec // few
			}
			if f%10 == 7 {
				row.Status, row.Error = string(proto.Failed), "exit status 1"
			}
			rows = append(rows, row)
		}
	}
	return rows, all
}

// shapes reads a picture: its rectangles that have a class, and its texts.
func shapes(t *testing.T, picture string) (boxes map[string][][4]int, texts []string, links int) {
	t.Helper()
	boxes = map[string][][4]int{}
	d := xml.NewDecoder(strings.NewReader(picture))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return boxes, texts, links
		}
		require.NoError(t, err, "it is well-formed")
		switch e := token.(type) {
		case xml.CharData:
			texts = append(texts, string(e))
		case xml.StartElement:
			attr := map[string]string{}
			for _, a := range e.Attr {
				attr[a.Name.Local] = a.Value
			}
			if e.Name.Local == "a" {
				links++
			}
			if e.Name.Local == "rect" {
				var box [4]int
				for i, name := range []string{"x", "y", "width", "height"} {
					box[i], err = strconv.Atoi(attr[name])
					require.NoError(t, err)
				}
				kind, _, _ := strings.Cut(attr["class"], " ")
				boxes[kind] = append(boxes[kind], box)
			}
		}
	}
}

func TestThePictureOfManyIsReadable(t *testing.T) {
	for _, c := range []struct{ agents, functions, each, chips int }{
		{1, 100, 1, 100}, {3, 12, 2, 24}, {20, 100, 1, 100}, {20, 100, 3, 240}, {60, 200, 3, 240}, {1, 1, 1, 1}, {2, 400, 2, 240},
	} {
		what := fmt.Sprintf("%d agents, %d functions on %d each", c.agents, c.functions, c.each)
		rows, agents := many(c.agents, c.functions, c.each)
		nodes, about := nodesOf(rows, agents)
		assert.Contains(t, about, countText(c.agents, c.agents, "agent"), what)
		for _, wide := range []struct{ wide, columns int }{{1200, 3}, {360, 1}} {
			picture := string(drawTopology("x", "proxy v1", "2 calls/s", about, nodes, wide.wide, wide.columns))
			assert.Less(t, len(picture), 120_000, what)
			boxes, texts, _ := shapes(t, picture)
			all := strings.Join(texts, "\n")
			assert.LessOrEqual(t, len(boxes["chip"]), c.chips+maxPictured, what)
			assert.Len(t, boxes["node"], min(c.agents, maxPictured)+1, what)
			if len(rows) <= maxChips && c.agents <= 20 {
				assert.Len(t, boxes["chip"], len(rows), "%s: none is left out", what)
			} else {
				assert.Contains(t, all, " more", what)
			}
			if c.functions > 7 {
				assert.Contains(t, all, "Failed", "%s: a state is said in words", what)
			}
			for i, chip := range boxes["chip"] {
				inside := false
				for _, node := range boxes["node"][1:] {
					inside = inside || chip[0] >= node[0] && chip[1] >= node[1]+headHigh && chip[0]+chip[2] <= node[0]+node[2] && chip[1]+chip[3] <= node[1]+node[3]
				}
				assert.True(t, inside, "%s: chip %d lies in an agent", what, i)
				for _, other := range boxes["chip"][i+1:] {
					apart := chip[0]+chip[2] <= other[0] || other[0]+other[2] <= chip[0] || chip[1]+chip[3] <= other[1] || other[1]+other[3] <= chip[1]
					assert.True(t, apart, "%s: none covers another", what)
				}
			}
			assert.Equal(t, fmt.Sprint(proxyHigh), between(picture, `class="link" d="M14 `, "V"), "%s: the line begins at the proxy", what)
			for _, node := range boxes["node"] {
				assert.LessOrEqual(t, node[0]+node[2], wide.wide, what)
			}
		}
	}
}

// between returns what stands between two texts.
func between(text, begin, end string) string {
	_, rest, _ := strings.Cut(text, begin)
	found, _, _ := strings.Cut(rest, end)
	return found
}

func TestThePictureShowsWhatIsNotWellFirst(t *testing.T) {
	rows, agents := many(1, 300, 1)
	nodes, _ := nodesOf(rows, agents)
	require.Len(t, nodes, 1)
	for i := range 30 {
		assert.Equal(t, "bad", nodes[0].chips[i].class)
	}
	assert.Equal(t, 300-len(nodes[0].chips), nodes[0].more)
	agents[0].Addr = `<script>"&`
	rows[0].Name, rows[0].AtAgent = `<b>`, agents[0].GetAddr()
	nodes, about := nodesOf(rows[:1], agents)
	picture := string(drawTopology("x", "<i>", "", about, nodes, 360, 1))
	assert.NotRegexp(t, `<(b|script|i)>`, picture)
	_, texts, links := shapes(t, picture)
	assert.Contains(t, texts, "<b>")
	assert.Equal(t, 2, links, "to the agents and to the function")
}
