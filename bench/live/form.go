package live

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"time"

	"weir/api/limit"
	"weir/bench/attack"
	"weir/bench/plan"
)

var nan = math.NaN()

// A Form is what a person fills in to start an attack. Durations, rates and
// limits are texts as the command line takes them.
type Form struct {
	Name     string   `json:"name"` // of the plan, e.g. "live"
	Targets  []string `json:"targets"`
	Method   string   `json:"method"`  // "" is GET
	Headers  []string `json:"headers"` // "Name: value" each
	Body     string   `json:"body"`
	Shape    string   `json:"shape"` // e.g. "constant:100/s", "users:50"
	Ramp     string   `json:"ramp"`  // how long to take until the first rate or all users, e.g. "10s"; "" is at once
	Duration string   `json:"duration"`
	Keys     int      `json:"keys"` // 0 sends none
	Spread   string   `json:"spread"`
	Via      string   `json:"via"`
	Limit    string   `json:"limit"`    // "" promises nothing
	Fresh    bool     `json:"fresh"`    // every bucket is full at the start
	Scenario string   `json:"scenario"` // the k6 scenario that offers the load; "" when weir does
}

// A fieldError is what is wrong with one field of a form.
type fieldError struct {
	Field string
	Err   error
}

func (e *fieldError) Error() string { return e.Err.Error() }
func (e *fieldError) Unwrap() error { return e.Err }

func wrong(field, format string, args ...any) error {
	return &fieldError{field, fmt.Errorf(format, args...)}
}

// plan makes the plan of the form, within the ceilings of the configuration.
func (f *Form) plan(c *Config) (p *plan.Plan, ramp time.Duration, err error) {
	p = &plan.Plan{
		Name: f.Name, Seed: 1, Fresh: f.Fresh, Question: "What does the target make of this load?",
		Keys: plan.Keys{Count: f.Keys, Spread: f.Spread, Via: f.Via},
	}
	if p.Name == "" {
		p.Name = "live"
	}
	if p.Shape, err = plan.ParseShape(f.Shape); err != nil {
		return nil, 0, &fieldError{"shape", err}
	}
	if p.Duration, err = time.ParseDuration(f.Duration); err != nil || p.Duration <= 0 {
		return nil, 0, wrong("duration", "duration %q: want e.g. 30s, 5m or 1h", f.Duration)
	}
	if f.Ramp != "" {
		if ramp, err = time.ParseDuration(f.Ramp); err != nil || ramp < 0 || ramp > p.Duration {
			return nil, 0, wrong("ramp", "ramp %q: want e.g. 10s, no longer than the attack", f.Ramp)
		}
	}
	if ramp > 0 && !f.canRamp() {
		return nil, 0, wrong("ramp", "ramp %q: only constant rates and users can be reached by a ramp", f.Ramp)
	}
	if f.Limit != "" {
		promise, err := limit.Parse(f.Limit)
		if err != nil {
			return nil, 0, &fieldError{"limit", err}
		}
		p.Limit = &promise
	}
	if p.Targets, err = f.targets(); err != nil {
		return nil, 0, err
	}
	if err := f.checkCeilings(p, c); err != nil {
		return nil, 0, err
	}
	return p, ramp, p.Validate()
}

func (f *Form) canRamp() bool {
	return strings.HasPrefix(f.Shape, "constant:") || strings.HasPrefix(f.Shape, "users:")
}

// checkCeilings refuses what is more than the person who started weir allowed.
func (f *Form) checkCeilings(p *plan.Plan, c *Config) error {
	switch {
	case p.Duration > c.MaxDuration:
		return wrong("duration", "duration %s is above the ceiling of %s (start weir live with --max-duration)", p.Duration, c.MaxDuration)
	case p.Shape.Peak() > c.MaxRate:
		return wrong("shape", "%.6g requests a second are above the ceiling of %.6g (start weir live with --max-rate)", p.Shape.Peak(), c.MaxRate)
	case float64(p.Shape.Burst()) > max(c.MaxRate, 1):
		return wrong("shape", "%d requests at once are above the ceiling of %.6g (start weir live with --max-rate)", p.Shape.Burst(), c.MaxRate)
	case p.Shape.Closed() && p.MaxWorkers() > c.MaxUsers:
		return wrong("shape", "%d users are above the ceiling of %d (start weir live with --max-users)", p.MaxWorkers(), c.MaxUsers)
	case f.Scenario == "":
		return nil
	case !known(c.Scenarios, f.Scenario):
		return wrong("scenario", "unknown scenario %q (want one of %s)", f.Scenario, strings.Join(slices.Sorted(maps.Keys(c.Scenarios)), ", "))
	case p.Limit == nil:
		return wrong("limit", "a k6 scenario makes its load of the limit: which limit is promised?")
	case scenarioFactor*p.Limit.Rate.PerSecond() > c.MaxRate:
		return wrong("limit", "a k6 scenario may ask for %d times the limit, which is above the ceiling of %.6g requests a second", scenarioFactor, c.MaxRate)
	}
	return nil
}

func known(scenarios map[string]string, name string) bool {
	_, known := scenarios[name]
	return known
}

// scenarioFactor is the most that a k6 scenario asks for, in limits: spike has
// ten, and the rest is room.
const scenarioFactor = 20

func (f *Form) targets() (targets []plan.Target, err error) {
	header := http.Header{}
	for _, text := range f.Headers {
		name, value, found := strings.Cut(text, ":")
		if !found {
			return nil, wrong("headers", "header %q: no colon (want Name: value)", text)
		}
		name = textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name))
		header[name] = append(header[name], strings.TrimSpace(value))
	}
	method := f.Method
	if method == "" {
		method = http.MethodGet
	}
	for _, text := range f.Targets {
		if text = strings.TrimSpace(text); text != "" {
			targets = append(targets, plan.Target{Method: method, URL: text, Header: header, Body: []byte(f.Body)})
		}
	}
	if len(targets) == 0 {
		return nil, wrong("targets", "no target (want e.g. http://127.0.0.1:8000/items)")
	}
	return targets, nil
}

// allowed says whether the targets of a plan may be attacked, and whether some
// are elsewhere than on loopback. A unix socket is no loopback: what listens on
// one may be the machine's own manager.
func allowed(ctx context.Context, p *plan.Plan, listed []string) (remote bool, err error) {
	for _, target := range p.Targets {
		u, err := url.Parse(target.URL)
		if err != nil {
			return false, &fieldError{"targets", err}
		}
		socket, _, _ := strings.Cut(u.Path, ":")
		if u.Scheme == plan.SchemeUnix && slices.Contains(listed, socket) ||
			u.Scheme != plan.SchemeUnix && (slices.Contains(listed, u.Host) || slices.Contains(listed, u.Hostname())) {
			remote = true
			continue
		}
		if u.Scheme == plan.SchemeUnix {
			return false, wrong("targets", "target %s is a unix socket that is not allowed (start weir live with --allow-target %s if you may load it)", target.URL, socket)
		}
		one := *p
		one.Targets = []plan.Target{target}
		if err := attack.CheckLoopback(ctx, &one); errors.Is(err, attack.ErrRemote) {
			return false, wrong("targets", "%w (start weir live with --allow-target %s if you may load it)", err, u.Hostname())
		} else if err != nil {
			return false, &fieldError{"targets", err}
		}
	}
	return remote, nil
}

// split returns base and path of a target for k6.
func split(target string) (base, path string, err error) {
	u, err := url.Parse(target)
	if err != nil || u.Scheme == plan.SchemeUnix || u.RawQuery != "" {
		return "", "", wrong("targets", "target %q: k6 scenarios want a URL without a query, e.g. http://%s", target, net.JoinHostPort("127.0.0.1", "8000")+"/items")
	}
	return u.Scheme + "://" + u.Host, "/" + strings.TrimPrefix(u.EscapedPath(), "/"), nil
}
