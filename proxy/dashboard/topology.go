package dashboard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strings"

	"github.com/Ishan27g/ryo-faas/proto"
)

// How much the picture has. What is not well is shown first.
const (
	maxPictured = 40  // agents
	maxChips    = 240 // functions of all agents together
	leastChips  = 6   // of each agent, however many there are
)

// topologyBody is the page with the picture of what runs where.
type topologyBody struct {
	Picture picture
	Legend  []legend
}

// picture is the same thing twice: for wide pages, and for telephones.
type picture struct{ Wide, Narrow template.HTML }

// legend says what a sign means.
type legend struct {
	Sign template.HTML
	Word string
}

// node is an agent in the picture.
type node struct {
	name, page   string // page is "" for who may not see agents
	state, class string
	note         string // what it is doing
	chips        []chip
	more         int // functions that are left out
}

// chip is a function on an agent.
type chip struct{ name, page, state, class, text, title string }

func (d *Dashboard) topologyPage(v *visit) error {
	d.history.look()
	drawn, err := d.topologyNow(v.r.Context(), v)
	if err != nil {
		return err
	}
	body := topologyBody{Picture: drawn}
	for _, l := range []struct{ class, word string }{{"good", "well"}, {"busy", "changing"}, {"warn", "needs a look"}, {"bad", "failed or unreachable"}, {"off", "paused or drained"}} {
		var b strings.Builder
		b.WriteString(`<svg class="map sign" viewBox="-7 -7 14 14" aria-hidden="true">`)
		drawSign(&b, l.class, 0, 0)
		b.WriteString("</svg>")
		body.Legend = append(body.Legend, legend{template.HTML(b.String()), l.word}) //nolint:gosec // fixed words
	}
	return d.show(v, "topology", page{Title: "Topology", At: "topology", Live: "page=topology", Body: body})
}

// topologyNow draws what runs where.
func (d *Dashboard) topologyNow(ctx context.Context, v *visit) (p picture, err error) {
	rows, err := v.api.Details(ctx)
	if err != nil {
		return p, err
	}
	var agents []*proto.AgentState
	if v.may.Admin {
		if agents, err = v.api.Agents(ctx); err != nil && !errors.Is(err, proto.ErrForbidden) && !errors.Is(err, proto.ErrUnsupported) {
			return p, err
		}
	}
	nodes, about := nodesOf(rows, agents)
	var calls float64
	for name := range byFunction(rows) {
		each, _ := rate(recent(d.history.of(name), 1))
		calls += each
	}
	title := "proxy " + d.cfg.Version
	return picture{drawTopology("wide", title, numberText(calls)+" calls/s", about, nodes, 1240, 3), drawTopology("narrow", title, numberText(calls)+" calls/s", about, nodes, 360, 1)}, nil
}

// nodesOf returns the agents with what they run, ordered by name, and the whole in words.
func nodesOf(rows []*proto.FunctionJsonRsp, agents []*proto.AgentState) (nodes []*node, about string) {
	at := map[string]*node{}
	for _, a := range agents {
		n := &node{name: a.GetAddr(), page: Path + "agents", state: "Connected", class: "good", note: countText(int(a.GetFunctions()), int(a.GetFunctions()), "function")}
		switch {
		case !a.GetConnected():
			n.state, n.class = "Unreachable", "bad"
		case a.GetDraining() && a.GetFunctions() > 0:
			n.state, n.class = "Draining", "busy"
		case a.GetDraining():
			n.state, n.class = "Drained", "off"
		}
		at[a.GetAddr()] = n
	}
	well := 0
	for _, row := range rows {
		n := at[row.GetAtAgent()]
		if n == nil {
			n = &node{name: row.GetAtAgent(), state: "Connected", class: "good"}
			at[n.name] = n
		}
		if row.GetReason() == proto.ReasonUnreachable {
			n.state, n.class = "Unreachable", "bad"
		}
		state, class, _ := stateOf([]*proto.FunctionJsonRsp{row})
		if class == "good" {
			well++
		}
		n.chips = append(n.chips, chipOf(row, state, class))
	}
	reached := 0
	for _, n := range at {
		if n.class != "bad" {
			reached++
		}
		n.note = countText(len(n.chips), len(n.chips), "function")
		slices.SortFunc(n.chips, func(a, b chip) int {
			return cmp.Or(cmp.Compare(rankOf(a.class), rankOf(b.class)), strings.Compare(a.name, b.name))
		})
		if most := max(leastChips, maxChips/len(at)); len(n.chips) > most {
			n.more = len(n.chips) - most + 1 // in the place of one
			n.chips = n.chips[:most-1]
		}
		nodes = append(nodes, n)
	}
	slices.SortFunc(nodes, func(a, b *node) int { return strings.Compare(a.name, b.name) })
	functions := len(slices.Collect(maps.Keys(byFunction(rows))))
	about = fmt.Sprintf("%s, of which %d can be reached. %s with %s, of which %d are well.", countText(len(nodes), len(nodes), "agent"), reached,
		countText(functions, functions, "function"), countText(len(rows), len(rows), "replica"), well)
	return nodes, about
}

// rankOf orders what is not well before what is.
func rankOf(class string) int {
	return slices.Index([]string{"bad", "warn", "busy", "off", "good"}, class)
}

func chipOf(row *proto.FunctionJsonRsp, state, class string) chip {
	c := chip{name: row.GetName(), page: pageOf(row.GetName()), state: state, class: class, text: state}
	version := versionText(row.GetVersion())
	if canary, percent := canaryOf(row); percent > 0 {
		version += fmt.Sprintf(" + v%d", canary)
	}
	if class == "good" {
		c.text = version
		if n := row.GetInstances(); n != 1 {
			c.text += fmt.Sprintf(" ×%d", n)
		}
	}
	c.title = fmt.Sprintf("%s: %s, %s, %s", c.name, state, version, countText(int(row.GetInstances()), int(row.GetInstances()), "process"))
	return c
}

// Sizes in the picture, in units that are pixels where it has its own size.
const (
	chipHigh, chipGap   = 26, 6
	chipLeast           = 160 // wide
	headHigh, nodePad   = 30, 8
	nodeGap, busGap     = 16, 22
	trunk, proxyHigh    = 14, 44
	charWide            = 8 // of the text in a chip, at most about
	stateWide, signWide = 6, 24
)

// drawTopology draws the proxy, a line from it to each agent, and in each agent its
// functions, in rows of so many agents at most.
func drawTopology(id, proxy, calls, about string, nodes []*node, wide, columns int) template.HTML {
	var b strings.Builder
	left := 2 * trunk
	hidden := max(0, len(nodes)-maxPictured)
	nodes = nodes[:len(nodes)-hidden]
	columns = max(1, min(columns, len(nodes)))
	nodeWide := (wide - left - (columns-1)*nodeGap) / columns
	perRow := max(1, (nodeWide-2*nodePad+chipGap)/(chipLeast+chipGap))
	chipWide := (nodeWide - 2*nodePad - (perRow-1)*chipGap) / perRow

	y, from := proxyHigh, proxyHigh
	var links, boxes strings.Builder
	for first := 0; first < len(nodes); first += columns {
		row := nodes[first:min(first+columns, len(nodes))]
		bus := y + busGap/2
		y += busGap
		tallest := 0
		fmt.Fprintf(&links, `<path class="link" d="M%d %dV%dH%d"/>`, trunk, from, bus, left+(len(row)-1)*(nodeWide+nodeGap)+trunk)
		from = bus
		for i, n := range row {
			x := left + i*(nodeWide+nodeGap)
			fmt.Fprintf(&links, `<path class="link %s" d="M%d %dV%d"/>`, n.class, x+trunk, bus, y)
			tallest = max(tallest, drawNode(&boxes, n, x, y, nodeWide, chipWide, perRow))
		}
		y += tallest
	}
	if hidden > 0 {
		y += busGap
		fmt.Fprintf(&boxes, `<a href="%sagents"><text x="%d" y="%d">%d more agents</text></a>`, Path, left, y-4, hidden)
	}
	fmt.Fprintf(&b, `<svg class="map %s" viewBox="0 0 %d %d" role="group" aria-labelledby="%s-title %s-about"><title id="%s-title">What runs where</title><desc id="%s-about">%s</desc>`,
		id, wide, y+2, id, id, id, id, template.HTMLEscapeString(about))
	b.WriteString(links.String())
	fmt.Fprintf(&b, `<rect class="node" x="1" y="1" width="%d" height="%d" rx="6"/><text class="name" x="%d" y="19">%s</text><text class="dim" x="%d" y="36">%s</text>`,
		min(260, wide-2), proxyHigh-1, trunk-4, template.HTMLEscapeString(shortened(proxy, 32)), trunk-4, template.HTMLEscapeString(calls))
	b.WriteString(boxes.String())
	b.WriteString("</svg>")
	return template.HTML(b.String()) //nolint:gosec // numbers, and escaped texts
}

// drawNode draws an agent and returns how high it is.
func drawNode(b *strings.Builder, n *node, x, y, wide, chipWide, perRow int) int {
	count := len(n.chips)
	if n.more > 0 {
		count++
	}
	rows := (count + perRow - 1) / perRow
	high := headHigh + rows*(chipHigh+chipGap) + nodePad - chipGap
	if rows == 0 {
		high = headHigh + nodePad
	}
	fmt.Fprintf(b, `<rect class="node %s" x="%d" y="%d" width="%d" height="%d" rx="6"/>`, n.class, x, y, wide, high)
	head := n.note
	if n.class != "good" {
		head = n.state + ", " + n.note
	}
	room := (wide - signWide - 3*nodePad - len(head)*stateWide) / (charWide + 1)
	open, end := "<g>", "</g>"
	if n.page != "" {
		open, end = `<a href="`+n.page+`">`, "</a>"
	}
	fmt.Fprintf(b, `%s<title>%s: %s, %s</title>`, open, template.HTMLEscapeString(n.name), n.state, n.note)
	drawSign(b, n.class, x+nodePad+5, y+headHigh/2)
	fmt.Fprintf(b, `<text class="name" x="%d" y="%d">%s</text>%s<text class="dim end" x="%d" y="%d">%s</text>`,
		x+signWide, y+headHigh/2+4, template.HTMLEscapeString(shortened(n.name, room)), end, x+wide-nodePad, y+headHigh/2+4, head)
	place := func(i int) (int, int) {
		return x + nodePad + i%perRow*(chipWide+chipGap), y + headHigh + i/perRow*(chipHigh+chipGap)
	}
	for i, c := range n.chips {
		cx, cy := place(i)
		room := (chipWide - signWide - nodePad - len(c.text)*stateWide) / charWide
		fmt.Fprintf(b, `<a href="%s"><title>%s</title><rect class="chip %s" x="%d" y="%d" width="%d" height="%d" rx="5"/>`,
			template.HTMLEscapeString(c.page), template.HTMLEscapeString(c.title), c.class, cx, cy, chipWide, chipHigh)
		drawSign(b, c.class, cx+12, cy+chipHigh/2)
		fmt.Fprintf(b, `<text x="%d" y="%d">%s</text><text class="dim end" x="%d" y="%d">%s</text></a>`,
			cx+signWide, cy+17, template.HTMLEscapeString(shortened(c.name, room)), cx+chipWide-nodePad, cy+17, c.text)
	}
	if n.more > 0 {
		cx, cy := place(len(n.chips))
		fmt.Fprintf(b, `<a href="%s"><rect class="chip more" x="%d" y="%d" width="%d" height="%d" rx="5"/><text x="%d" y="%d">%d more</text></a>`, Path, cx, cy, chipWide, chipHigh, cx+signWide, cy+17, n.more)
	}
	return high
}

// drawSign draws the shape of a state: a disc, a ring, a triangle, a cross or two bars.
func drawSign(b *strings.Builder, class string, x, y int) {
	shape := map[string]string{
		"good": `a4 4 0 1 0 .01 0z`, "busy": `a4 4 0 1 0 .01 0z`, "warn": `l5 9h-10z`, "bad": `l8 8m0 -8l-8 8`, "off": `v8m6 0v-8`,
	}[class]
	from := map[string][2]int{"good": {0, -4}, "busy": {0, -4}, "warn": {0, -5}, "bad": {-4, -4}, "off": {-3, -4}}[class]
	fmt.Fprintf(b, `<path class="sign %s" d="M%d %d%s"/>`, class, x+from[0], y+from[1], shape)
}

// shortened returns a text with at most so many runes, at least seven. What is left out is
// before its end, where names differ that are made alike.
func shortened(text string, most int) string {
	const end = 3
	runes := []rune(text)
	if most = max(7, most); len(runes) <= most {
		return text
	}
	return string(runes[:most-end-1]) + "…" + string(runes[len(runes)-end:])
}
