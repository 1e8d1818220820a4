package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// query is what an expression of PromQL asks for, as far as it can be told without its
// parser: that of Prometheus brings more packages than this whole module has.
type query struct {
	metrics map[string][]string // names, and the labels that their selectors name
	by      []string            // labels by which is summed up
}

var (
	quoted   = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	grouping = regexp.MustCompile(`\b(?:by|without|on|ignoring) ?\(([a-z_, ]*)\)`)
	selector = regexp.MustCompile(`([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[^{}]*\})?(\[[0-9]+[smhd]\])?(\s*\()?`)
	matcher  = regexp.MustCompile(`^([a-z_]+)(=|!=|=~|!~)""$`)
	words    = []string{"and", "or", "unless", "bool", "offset"}
	// functions are those that are used, and whether they take a range.
	functions = map[string]bool{"sum": false, "histogram_quantile": false, "rate": true, "increase": true, "min_over_time": true}
	duration  = regexp.MustCompile(`^[0-9]+[smhd]$`)
)

// parse reads an expression. It knows what the files of dist use, and refuses all else.
func parse(expr string) (query, error) {
	q := query{metrics: map[string][]string{}}
	text := quoted.ReplaceAllString(expr, `""`)
	depth := 0
	for _, c := range text {
		switch c {
		case '(':
			depth++
		case ')':
			depth--
		}
		if depth < 0 {
			break
		}
	}
	if depth != 0 || strings.Count(text, `"`)%2 != 0 {
		return q, errors.New("unbalanced")
	}
	text = grouping.ReplaceAllStringFunc(text, func(s string) string {
		for label := range strings.SplitSeq(grouping.FindStringSubmatch(s)[1], ",") {
			q.by = append(q.by, strings.TrimSpace(label))
		}
		return ""
	})
	ranged := false // the function before takes a range
	for _, m := range selector.FindAllStringSubmatch(text, -1) {
		name, labels, over, call := m[1], m[2], m[3], m[4]
		if call != "" && labels == "" && over == "" {
			takes, known := functions[name]
			if !known {
				return q, fmt.Errorf("no function %s", name)
			}
			ranged = takes
			continue
		}
		if slices.Contains(words, name) {
			continue
		}
		if (over != "") != ranged {
			return q, fmt.Errorf("%s: a range is wanted by rate and its like, and by no other", name)
		}
		ranged = false
		for part := range strings.SplitSeq(strings.Trim(labels, "{}"), ",") {
			if part == "" {
				continue
			}
			of := matcher.FindStringSubmatch(part)
			if of == nil {
				return q, fmt.Errorf("%s: matcher %s", name, part)
			}
			q.metrics[name] = append(q.metrics[name], of[1])
		}
		q.metrics[name] = append(q.metrics[name], []string{}...)
	}
	rest := strings.TrimSpace(selector.ReplaceAllString(text, " "))
	if !regexp.MustCompile(`^[-+*/<>=!0-9.,() ]*$`).MatchString(rest) {
		return q, fmt.Errorf("left over: %s", rest)
	}
	if len(q.metrics) == 0 {
		return q, errors.New("no metric")
	}
	return q, nil
}

// scraped are the metrics of a page, each with its labels.
func scraped(t *testing.T, pages ...string) map[string]map[string]bool {
	t.Helper()
	all := map[string]map[string]bool{}
	sample := regexp.MustCompile(`(?m)^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? \S+$`)
	for _, page := range pages {
		for _, m := range sample.FindAllStringSubmatch(page, -1) {
			if all[m[1]] == nil {
				all[m[1]] = map[string]bool{}
			}
			for _, l := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(m[2], -1) {
				all[m[1]][l[1]] = true
			}
		}
	}
	require.NotEmpty(t, all)
	return all
}

// ofTargets are the labels that Prometheus and GET /sd give every series, and up, which
// Prometheus makes itself.
var ofTargets = []string{"job", "instance", "ryo"}

// asks asserts that an expression can be read and that what it names is scraped. It returns
// the labels that its result has.
func asks(t *testing.T, live map[string]map[string]bool, expr string) []string {
	t.Helper()
	q, err := parse(expr)
	require.NoError(t, err, expr)
	labels := slices.Concat(ofTargets, q.by)
	for name, matched := range q.metrics {
		if name != "up" && !assert.Contains(t, live, name, expr) {
			continue
		}
		for _, label := range slices.Concat(matched, q.by) {
			assert.True(t, live[name][label] || slices.Contains(ofTargets, label), "%s has no label %s: %s", name, label, expr)
		}
		if q.by == nil {
			labels = append(labels, slices.Collect(maps.Keys(live[name]))...)
		}
	}
	return labels
}

func TestParseOfExpressions(t *testing.T) {
	t.Parallel()
	for expr, metrics := range map[string][]string{
		`up{job="ryo"} == 0`: {"up"},
		`sum by (a) (rate(x_total{b=~"c|(d"}[5m])) / sum by (a) (rate(y_total[5m])) > 0.05`: {"x_total", "y_total"},
		`increase(x[1h]) > 0 or increase(y[1h]) > 0`:                                        {"x", "y"},
	} {
		q, err := parse(expr)
		require.NoError(t, err, expr)
		assert.ElementsMatch(t, metrics, slices.Collect(maps.Keys(q.metrics)), expr)
	}
	for _, bad := range []string{"", "1", "rate(x)", "x[5m]", "rat(x[5m])", "sum(x", "x{a=b}", `x{a~"b"}`, `x{a="b}`, "x # y", "sum by a (x)", "sum(rate(x[5]))"} {
		_, err := parse(bad)
		assert.Error(t, err, bad)
	}
}

// Prometheus finds all there is to scrape, and each metric of the alerts and the dashboard is
// there.
func TestPrometheusFindsWhatTheDashboardShows(t *testing.T) {
	t.Parallel()
	a := startAgent(t, "", "", "-labels", "zone=a,rack-no=7")
	p := startProxy(t, "", "-agents", a.addr, "-access-log", filepath.Join(t.TempDir(), "access.log"), "-deploy-hooks", "http://127.0.0.1:9", "-allow-callbacks", "127.0.0.1")
	definition := fmt.Sprintf(`[{"name": "Hello", "dir": %q, "concurrency": 2, "app": "shop"}]`, source(t, `package fn

import "net/http"

func Hello(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/metrics" {
		w.Write([]byte("hello_total 1\n"))
	}
}
`))
	status, answer := fetch(t, http.MethodPost, "http://"+p.http+"/deploy?wait=true", definition)
	require.Equal(t, http.StatusOK, status, answer)
	require.Contains(t, answer, `"Deployed"`)
	status, _ = fetch(t, http.MethodGet, "http://"+p.http+"/functions/hello", "")
	require.Equal(t, http.StatusOK, status)
	_, _ = fetch(t, http.MethodGet, "http://"+p.http+"/functions/none", "")
	_, answer = fetch(t, http.MethodPost, "http://"+p.http+"/async/hello", "")
	var call struct{ ID string }
	require.NoError(t, json.Unmarshal([]byte(answer), &call))
	_, answer = fetch(t, http.MethodGet, "http://"+p.http+"/calls/"+call.ID+"?wait=30s", "")
	require.Contains(t, answer, `"state":"done"`)

	type group struct {
		Targets []string
		Labels  map[string]string
	}
	discover := func(query string) (groups []group) {
		status, answer := fetch(t, http.MethodGet, "http://"+p.http+"/sd"+query, "")
		require.Equal(t, http.StatusOK, status, answer)
		require.NoError(t, json.Unmarshal([]byte(answer), &groups), answer)
		return groups
	}
	scrape := func(g group) string {
		path := g.Labels["__metrics_path__"]
		if path == "" {
			path = "/metrics"
		}
		require.Len(t, g.Targets, 1)
		status, page := fetch(t, http.MethodGet, g.Labels["__scheme__"]+"://"+g.Targets[0]+path, "")
		require.Equal(t, http.StatusOK, status, page)
		return page
	}
	groups := discover("")
	require.Len(t, groups, 2)
	assert.Equal(t, group{[]string{p.http}, map[string]string{"ryo": "proxy", "__scheme__": "http"}}, groups[0])
	agent := groups[1]
	assert.Equal(t, []string{a.addr}, agent.Targets)
	assert.Equal(t, "agent", agent.Labels["ryo"])
	assert.Equal(t, "a", agent.Labels["__meta_ryo_label_zone"])
	assert.Equal(t, "7", agent.Labels["__meta_ryo_label_rack_no"])
	live := scraped(t, scrape(groups[0]), scrape(agent))

	own := discover("?functions")
	require.Len(t, own, 1)
	assert.Equal(t, "/functions/hello/metrics", own[0].Labels["__metrics_path__"])
	assert.Equal(t, "Hello", own[0].Labels["function"])
	assert.Equal(t, "shop", own[0].Labels["__meta_ryo_app"])
	assert.Equal(t, "hello_total 1\n", scrape(own[0]))
	status, answer = fetch(t, http.MethodGet, "http://"+p.http+"/sd?function", "")
	assert.Equal(t, http.StatusBadRequest, status)
	assert.Contains(t, errorOf(t, answer).Hint, "functions")
	for _, g := range slices.Concat(groups, own) { // as Prometheus wants them
		for name := range g.Labels {
			assert.Regexp(t, `^[a-zA-Z_][a-zA-Z0-9_]*$`, name)
		}
	}

	dir := filepath.Join(repository(t), "dist", "prometheus")
	t.Run("alerts", func(t *testing.T) {
		text, err := os.ReadFile(filepath.Join(dir, "alerts.yml"))
		require.NoError(t, err)
		var file struct {
			Groups []struct {
				Name  string
				Rules []struct {
					Alert, Expr, For    string
					Labels, Annotations map[string]string
				}
			}
		}
		decoder := yaml.NewDecoder(strings.NewReader(string(text)))
		decoder.KnownFields(true)
		require.NoError(t, decoder.Decode(&file))
		named := map[string]bool{}
		for _, rule := range file.Groups[0].Rules {
			assert.False(t, named[rule.Alert], rule.Alert)
			named[rule.Alert] = true
			labels := asks(t, live, rule.Expr)
			assert.True(t, rule.For == "" || duration.MatchString(rule.For), rule.Alert)
			assert.Contains(t, []string{"warning", "critical"}, rule.Labels["severity"])
			require.NotEmpty(t, rule.Annotations["summary"])
			require.NotEmpty(t, rule.Annotations["description"])
			for _, said := range rule.Annotations {
				for _, used := range regexp.MustCompile(`\$labels\.(\w+)`).FindAllStringSubmatch(said, -1) {
					assert.Contains(t, labels, used[1], rule.Alert)
				}
			}
		}
		assert.Greater(t, len(named), 5)
	})
	t.Run("dashboard", func(t *testing.T) {
		text, err := os.ReadFile(filepath.Join(dir, "grafana.json"))
		require.NoError(t, err)
		var board struct {
			Title      string
			Templating struct {
				List []struct {
					Name  string
					Query json.RawMessage
				}
			}
			Panels []struct {
				ID      int
				Title   string
				GridPos struct{ X, Y, W, H int }
				Targets []struct{ Expr, LegendFormat string }
			}
		}
		require.NoError(t, json.Unmarshal(text, &board))
		values := strings.NewReplacer("$__rate_interval", "5m", "$job", "ryo", "$function", ".*")
		ids, cells := map[int]bool{}, map[[2]int]string{}
		for _, panel := range board.Panels {
			assert.False(t, ids[panel.ID], panel.Title)
			ids[panel.ID] = true
			for x := panel.GridPos.X; x < panel.GridPos.X+panel.GridPos.W; x++ {
				for y := panel.GridPos.Y; y < panel.GridPos.Y+panel.GridPos.H; y++ {
					assert.Empty(t, cells[[2]int{x, y}], "%s lies on another panel", panel.Title)
					cells[[2]int{x, y}] = panel.Title
					assert.Less(t, x, 24, panel.Title)
				}
			}
			require.NotEmpty(t, panel.Targets, panel.Title)
			for _, target := range panel.Targets {
				labels := asks(t, live, values.Replace(target.Expr))
				for _, used := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(target.LegendFormat, -1) {
					assert.Contains(t, labels, used[1], panel.Title)
				}
			}
		}
		assert.Greater(t, len(ids), 10)
		for _, v := range board.Templating.List {
			if m := regexp.MustCompile(`label_values\((\w+), (\w+)\)`).FindStringSubmatch(string(v.Query)); m != nil {
				assert.True(t, m[1] == "up" || live[m[1]][m[2]], v.Name)
			}
		}
	})
	t.Run("scrape", func(t *testing.T) {
		text, err := os.ReadFile(filepath.Join(dir, "scrape.yml"))
		require.NoError(t, err)
		var file struct {
			Scrape []struct {
				Job string `yaml:"job_name"`
				SD  []struct {
					URL string
				} `yaml:"http_sd_configs"`
				Relabel []struct {
					Source        []string `yaml:"source_labels"`
					Regex, Action string
				} `yaml:"relabel_configs"`
			} `yaml:"scrape_configs"`
			Rules []string `yaml:"rule_files"`
		}
		decoder := yaml.NewDecoder(strings.NewReader(string(text)))
		decoder.KnownFields(true)
		require.NoError(t, decoder.Decode(&file))
		for _, job := range file.Scrape {
			query, ok := strings.CutPrefix(job.SD[0].URL, "http://localhost:9002/sd")
			require.True(t, ok)
			require.NotEmpty(t, discover(query))
			for _, relabel := range job.Relabel {
				assert.Contains(t, own[0].Labels, relabel.Source[0])
			}
		}
		for _, rules := range file.Rules {
			assert.FileExists(t, filepath.Join(dir, rules))
		}
	})
}
