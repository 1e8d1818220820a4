package proto

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// MaxRate bounds both numbers of a rate: nobody calls more often than a clock can tell.
	MaxRate = 1_000_000
	// MaxAllowIPs bounds the networks of a function: each call from none of them is
	// compared with all.
	MaxAllowIPs = 256
)

// Rate is how often one caller may call a function: Burst times at once, of which it gets
// one back after each Every. The zero value is no limit.
type Rate struct {
	Every time.Duration
	Burst int
}

var (
	rateForm  = regexp.MustCompile(`^([0-9]{1,7})/(s|m|h)(?: burst ([0-9]{1,7}))?$`)
	rateUnits = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}
)

// RateLimit is how often one caller may call the function.
func (f *FunctionJson) RateLimit() (Rate, error) {
	text := f.GetRate()
	if text == "" {
		return Rate{}, nil
	}
	m := rateForm.FindStringSubmatch(text)
	if m == nil {
		return Rate{}, f.invalid("rate", "%.40q is not a rate; write one such as 100/s, 20/m or 1000/h, with a burst where it differs, such as 100/s burst 500", text)
	}
	n, _ := strconv.Atoi(m[1]) // seven digits
	burst := n
	if m[3] != "" {
		burst, _ = strconv.Atoi(m[3])
	}
	if n < 1 || n > MaxRate || burst < 1 || burst > MaxRate {
		return Rate{}, f.invalid("rate", "%q is out of bounds; from 1 to %d calls can be given", text, MaxRate)
	}
	return Rate{Every: rateUnits[m[2]] / time.Duration(n), Burst: burst}, nil
}

// AllowedIPs are the networks from which alone the function may be called, nil for any. An
// address is a network of its own.
func (f *FunctionJson) AllowedIPs() ([]netip.Prefix, error) {
	texts := f.GetAllowIps()
	if len(texts) > MaxAllowIPs {
		return nil, f.invalid("allowIPs", "%d are more than the %d that a function may have", len(texts), MaxAllowIPs)
	}
	var all []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if addr, bare := netip.ParseAddr(text); bare == nil && addr.Zone() == "" {
			p, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		switch {
		case err != nil:
			return nil, f.invalid("allowIPs", "%.50q is no network, such as 10.0.0.0/8 or 2001:db8::/32, and no address", text)
		case p.Addr().Is4In6():
			return nil, f.invalid("allowIPs", "%s is IPv4 in the form of IPv6; callers are compared by their IPv4 addresses: write %s", text, p.Addr().Unmap())
		case p != p.Masked():
			return nil, f.invalid("allowIPs", "%s has bits behind the network: write %s, or %s for the one address", text, p.Masked(), p.Addr())
		}
		all = append(all, p)
	}
	return all, nil
}

// webhookForms are the ways in which senders sign that functions know.
var webhookForms = []string{"github", "stripe", "slack", "standard"}

func (f *FunctionJson) checkWebhook() error {
	text := f.GetWebhook()
	if text == "" {
		return nil
	}
	form, variable, _ := strings.Cut(text, ":")
	switch {
	case !envName.MatchString(variable):
		return f.invalid("webhook", "%.80q is not of the form FORM:VARIABLE, such as github:WEBHOOK_SECRET", text)
	case !slices.Contains(webhookForms, form):
		return f.invalid("webhook", "%q is not known; use one of %s", form, strings.Join(webhookForms, ", "))
	}
	return nil
}

// CheckWebhookSecret reports, as an ErrInvalid, why the function has no secret by which
// signatures are checked. It is asked where the values of secrets are known.
func (f *FunctionJson) CheckWebhookSecret() error {
	_, variable, _ := strings.Cut(f.GetWebhook(), ":")
	switch {
	case f.GetWebhook() == "" || f.GetSecrets()[variable] != "":
		return nil
	case f.GetEnv()[variable] != "":
		return f.invalid("webhook", "%s is in env, where all who may read the settings see it", variable).WithHint("give it in secrets")
	}
	return f.invalid("webhook", "there is no secret %s, or it is empty", variable).
		WithHint(fmt.Sprintf(`give it in secrets: {%q: "env:%[1]s"}, or -secret %[1]s=env:%[1]s`, variable))
}
