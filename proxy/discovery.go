package proxy

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/gateway"
	"github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// targets is a group of what Prometheus scrapes, as its HTTP service discovery reads it
// (https://prometheus.io/docs/prometheus/latest/http_sd/). Prometheus drops the labels that
// begin with __ after relabeling.
type targets struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// Names of labels that Prometheus gives a meaning.
const (
	schemeLabel = "__scheme__"
	pathLabel   = "__metrics_path__"
	metaLabel   = "__meta_ryo_"
)

// discovery answers GET /sd: this proxy and its agents, whose metrics cover all functions;
// with ?functions instead the functions themselves, for those that have metrics of their own
// at /metrics below their path. They are called through this proxy.
func (p *Proxy) discovery(w http.ResponseWriter, r *http.Request) {
	ofFunctions := false
	for key, values := range r.URL.Query() {
		if key != "functions" {
			wire.WriteError(w, wire.UnknownKey(key, []string{"functions"}))
			return
		}
		var err error
		if ofFunctions, err = wire.IsTrue(key, values[0]); err != nil {
			wire.WriteError(w, err)
			return
		}
	}
	here := "http"
	if r.TLS != nil {
		here = "https"
	}
	groups := []targets{}
	if ofFunctions {
		groups = p.functionTargets(r.Host, here)
	} else {
		groups = append(groups, targets{[]string{r.Host}, map[string]string{"ryo": "proxy", schemeLabel: here}})
		for _, a := range p.fleet.Agents() {
			groups = append(groups, agentTargets(a))
		}
	}
	data, err := json.Marshal(groups)
	if err != nil {
		wire.WriteError(w, err)
		return
	}
	wire.WriteJSON(w, http.StatusOK, data)
}

// agentTargets is an agent, whether it answers or not: that a target is down is what
// Prometheus is to see.
func agentTargets(a *proto.AgentState) targets {
	t := targets{[]string{a.GetAddr()}, map[string]string{"ryo": "agent", schemeLabel: "http", metaLabel + "id": a.GetId(), metaLabel + "platform": a.GetPlatform()}}
	if a.GetJoined() { // it speaks TLS with a certificate of the proxy's authority
		t.Labels[schemeLabel] = "https"
	}
	for name, value := range a.GetLabels() {
		t.Labels[metaLabel+"label_"+labelName(name)] = value
	}
	return t
}

// labelName is a name as labels of Prometheus may have it.
func labelName(name string) string {
	valid := []byte(name)
	for i, c := range valid {
		if c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			valid[i] = '_'
		}
	}
	return string(valid)
}

// functionTargets is each function that is deployed, ordered by path.
func (p *Proxy) functionTargets(host, scheme string) []targets {
	byPath := make(map[string]*proto.FunctionJsonRsp)
	for _, row := range p.fleet.Called() {
		if row.GetStatus() == string(proto.Deployed) {
			byPath[proto.Path(row.GetName())] = row
		}
	}
	groups := []targets{}
	for _, path := range slices.Sorted(maps.Keys(byPath)) {
		row := byPath[path]
		groups = append(groups, targets{[]string{host}, map[string]string{
			"ryo": "function", "function": row.GetName(), schemeLabel: scheme, pathLabel: gateway.Prefix + path + "/metrics",
			metaLabel + "app": row.GetApp(), metaLabel + "kind": row.GetKind(), metaLabel + "auth": row.GetAuth(),
		}})
	}
	return groups
}

// discoveryMount is where Prometheus learns what to scrape.
func (p *Proxy) discoveryMount() server.Mount {
	return server.Mount{
		Path: "/sd", Methods: []string{http.MethodGet, http.MethodHead}, Scope: wire.ScopeRead,
		Does: "what Prometheus is to scrape, or with ?functions functions", Handler: http.HandlerFunc(p.discovery),
	}
}
