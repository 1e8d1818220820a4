package doctor

import (
	"cmp"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"time"

	"github.com/Ishan27g/ryo-faas/internal/flags"
	"github.com/Ishan27g/ryo-faas/transport"
)

// maxSkew is by how much two clocks may differ: tokens and certificates end by them, and
// lines of logs are ordered by them. What is found is half a second off.
const maxSkew = 2 * time.Second

// detail is what /readyz of agents and proxies says beside the status.
type detail struct {
	Build     string `json:"build"`
	Toolchain struct {
		Version  string `json:"version"`
		MendedIn string `json:"mendedIn"`
	} `json:"toolchain"`
	Caches *struct {
		Build   space `json:"build"`
		Modules space `json:"modules"`
	} `json:"caches"`
	BuildIsolation []layer `json:"buildIsolation"`
	Isolation      struct {
		Tier string `json:"tier"`
		Why  string `json:"whyNotMore"`
	} `json:"isolation"`
	Damaged []struct {
		File string `json:"file"`
		Why  string `json:"why"`
		Way  string `json:"way"`
	} `json:"damaged"`
	Agents []agent `json:"agents"`
	Joined struct {
		Proxy   string    `json:"proxy"`
		Until   time.Time `json:"until"`
		Problem string    `json:"problem"`
	} `json:"joined"`
}

// space is how much a cache takes, and may.
type space struct {
	Used  int64 `json:"usedBytes"`
	Limit int64 `json:"limitBytes"`
}

type layer struct {
	Name   string `json:"name"`
	State  string `json:"state"`
	Reason string `json:"reason"`
	Remedy string `json:"remedy"`
}

// agent is what a proxy's /readyz says of an agent.
type agent struct {
	Addr      string `json:"address"`
	Connected bool   `json:"connected"`
	Version   string `json:"version,omitempty"`
	Go        string `json:"go,omitempty"` // "": it does not build
	Platform  string `json:"platform,omitempty"`
	Problem   string `json:"problem,omitempty"` // why it is not connected
}

// Server says what a proxy or an agent at an address has said of itself. check is the
// word for it.
func Server(check, addr string, about *transport.About) (findings []Finding) {
	own := flags.ThisBuild().Version
	switch {
	case about.Program == "":
		findings = append(findings, Poorly(check, "ask from its own machine as its own user, or with a token that may read",
			"a server answers at %s, and says nothing of itself to you", addr))
	case about.Version != own:
		findings = append(findings, Poorly(check, "run one version of all programs",
			"the %s at %s is of version %s; this is %s", about.Program, addr, about.Version, own))
	default:
		findings = append(findings, Found(check, "the %s at %s is of version %s", about.Program, addr, about.Version))
	}
	if about.Ready != nil {
		findings = append(findings, Badly("ready", "see its log; GET /readyz says when it is ready", "%v", about.Ready))
	}
	findings = append(findings, clock(about.Ahead))
	if about.Certificate != nil {
		findings = append(findings, Certificate(about.Certificate))
	}
	return append(findings, Said(about.Detail)...)
}

// Certificate says how long a certificate is good.
func Certificate(c *x509.Certificate) Finding {
	const check, remedy = "certificate", "renew it; a file of -tls-cert is read again when it changes"
	now, until := time.Now(), c.NotAfter.Format(time.RFC3339)
	switch left := c.NotAfter.Sub(now); {
	case left <= 0:
		return Badly(check, remedy, "it has expired, at %s", until)
	case now.Before(c.NotBefore):
		return Badly(check, "set the clock, or wait", "it is not good before %s", c.NotBefore.Format(time.RFC3339))
	case left < c.NotAfter.Sub(c.NotBefore)/10: // those that renew themselves do so far earlier
		return Poorly(check, remedy, "it expires soon, at %s", until)
	}
	return Found(check, "it is good until %s", until)
}

// Said returns the findings of what /readyz says, or would say, besides the status.
func Said[T any](about map[string]T) []Finding {
	var d detail
	if data, err := json.Marshal(about); err != nil || json.Unmarshal(data, &d) != nil {
		return []Finding{Poorly("server", "run one version of all programs", "what it says of itself is not understood")}
	}
	return d.findings()
}

// clock says how far a server's clock is from this machine's.
func clock(ahead time.Duration) Finding {
	const check, remedy = "clock", "set both clocks by NTP, such as with timedatectl set-ntp true"
	switch shown := ahead.Round(100 * time.Millisecond).Abs(); {
	case ahead > maxSkew:
		return Poorly(check, remedy, "the server's clock is %v ahead of this machine's", shown)
	case ahead < -maxSkew:
		return Poorly(check, remedy, "the server's clock is %v behind this machine's", shown)
	}
	return Found(check, "the server's clock is that of this machine")
}

func (d *detail) findings() (findings []Finding) {
	if t := d.Toolchain; t.Version != "" {
		findings = append(findings, toolchain(t.Version, t.MendedIn))
	}
	if d.Build != "" && d.Build != "ready" {
		findings = append(findings, Poorly("cache", "wait: deploys wait, too", "the build cache is being filled: %s", d.Build))
	} else if d.Build != "" {
		findings = append(findings, Found("cache", "the build cache is filled"))
	}
	if c := d.Caches; c != nil {
		findings = append(findings, c.Build.finding("compiled"), c.Modules.finding("fetched"))
	}
	if d.BuildIsolation != nil {
		findings = append(findings, confined("builds", d.BuildIsolation)...)
	}
	if d.Isolation.Tier != "" {
		findings = append(findings, tier(d.Isolation.Tier, d.Isolation.Why))
	}
	if j := d.Joined; j.Proxy != "" {
		findings = append(findings, joined(j.Proxy, j.Until, j.Problem))
	}
	for _, one := range d.Damaged {
		findings = append(findings, Badly("damage", cmp.Or(one.Way, "deploy what it belongs to again"), "%s: %s", one.File, one.Why))
	}
	for _, a := range d.Agents {
		findings = append(findings, a.finding())
	}
	if d.Agents != nil && len(d.Agents) == 0 {
		findings = append(findings, Poorly("agents", "start one, and name it with -agents or in a deploy", "the proxy knows no agent, so nothing can be deployed"))
	}
	return findings
}

// finding says how full a cache is. One that stays too full is never without a build.
func (s space) finding(what string) Finding {
	if s.Used > s.Limit {
		return Poorly("caches", "wait until no build runs; give the agent a larger -cache-limit",
			"what builds have %s takes %d MiB, more than the %d it may", what, s.Used>>20, s.Limit>>20)
	}
	return Found("caches", "what builds have %s takes %d MiB of at most %d", what, s.Used>>20, s.Limit>>20)
}

// renewedBy is how long a certificate still holds when it is renewed at the latest, if
// all is well.
const renewedBy = 7 * time.Hour

// joined is the finding of an agent that belongs to a proxy, until its certificate
// expires.
func joined(proxy string, until time.Time, problem string) Finding {
	const check, remedy = "certificate", "the agent's log says why it is not renewed"
	switch at := until.UTC().Format(time.RFC3339); {
	case problem != "":
		return Badly(check, "join again: proxyCli agents token prints the command", "the agent no longer belongs to %s: %s", proxy, problem)
	case time.Until(until) < renewedBy:
		return Poorly(check, remedy, "the agent belongs to %s until %s, and is not renewed", proxy, at)
	default:
		return Found(check, "the agent belongs to %s; its certificate, until %s, renews itself", proxy, at)
	}
}

// toolchain is the finding of an agent's Go; mendedIn is a version that mends known
// faults of it, or "".
func toolchain(version, mendedIn string) Finding {
	if mendedIn != "" {
		return Poorly("toolchain", "install "+mendedIn+" or later on the agent's machine, start the agent again, and deploy again",
			"functions are built with %s, whose standard library has known faults", version)
	}
	return Found("toolchain", "functions are built with %s", version)
}

// confined are the findings of the layers that confine something.
func confined(what string, layers []layer) (findings []Finding) {
	on := 0
	for _, l := range layers {
		if l.State == "on" {
			on++
			continue
		}
		findings = append(findings, Poorly(what, cmp.Or(l.Remedy, "a later kernel"), "%s: the layer %s is %s: %s", what, l.Name, l.State, l.Reason))
	}
	if on == len(layers) {
		return []Finding{Found(what, "%s are confined by all %d layers", what, on)}
	}
	return findings
}

// tier is the finding of the tier that functions run under.
func tier(name, why string) Finding {
	if name == "none" {
		return Poorly("isolation", why, "functions are not isolated")
	}
	says := fmt.Sprintf("functions run under the tier %s", name)
	if why != "" {
		says += "; it is not a better one, since " + why
	}
	return Found("isolation", "%s", says)
}

func (a *agent) finding() Finding {
	own := flags.ThisBuild().Version
	switch {
	case !a.Connected:
		return Badly("agent", "start it; agent doctor on its machine says what is wrong there", "%s is not connected: %s", a.Addr, cmp.Or(a.Problem, "it has not answered yet"))
	case a.Version != own:
		return Poorly("agent", "run one version of all programs", "%s is of version %s; this is %s", a.Addr, cmp.Or(a.Version, "unknown"), own)
	}
	return Found("agent", "%s, %s, %s", a.Addr, a.Platform, cmp.Or(a.Go, "builds nothing"))
}
