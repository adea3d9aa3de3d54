package plan

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"golang.org/x/net/http/httpguts"
)

// What a plan means by leaving a field at zero.
const (
	defaultTimeout    = 10 * time.Second
	defaultCatchUp    = 10 * time.Millisecond
	defaultWorkers    = 10_000
	defaultMaxWorkers = 32 // shape max: enough to keep a loopback server busy, few enough to wait for little else
	maxWorkers        = 1_000_000
	maxDuration       = 7 * 24 * time.Hour
)

// nameForm is what a plan may be called: it names a folder.
var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// Validate reports the first thing wrong with the plan, and what would be right.
func (p *Plan) Validate() error {
	if err := p.validate(); err != nil {
		return fmt.Errorf("plan %q: %w", p.Name, err)
	}
	return nil
}

func (p *Plan) validate() error {
	switch {
	case !nameForm.MatchString(p.Name):
		return errors.New("want a name of small letters, digits, dots, dashes and underscores: it names a folder")
	case p.Shape.kind == "":
		return errors.New("no shape (want " + Choices + ")")
	case p.Duration <= 0 || p.Duration > maxDuration:
		return fmt.Errorf("duration %s: want more than 0s and at most %s", p.Duration, maxDuration)
	case p.Cost < 0:
		return fmt.Errorf("cost %d: want at least 1 token, or 0 for the default of 1", p.Cost)
	case p.Timeout < 0:
		return fmt.Errorf("timeout %s: want more than 0s, or 0s for the default of %s", p.Timeout, defaultTimeout)
	case p.Workers < 0 || p.Workers > maxWorkers:
		return fmt.Errorf("%d workers: want between 1 and %d, or 0 for the default", p.Workers, maxWorkers)
	case p.Workers > 0 && p.Shape.Users() > 0 && p.Workers != p.Shape.Users():
		return fmt.Errorf("%d workers for %d users: every user is one worker, leave the workers out", p.Workers, p.Shape.Users())
	case len(p.Targets) == 0:
		return errors.New("no target (want at least one URL)")
	case !p.Shape.Closed() && p.Shape.Total(p.Duration) == 0:
		return fmt.Errorf("shape %s sends nothing in %s", p.Shape, p.Duration)
	}
	if err := p.Keys.Validate(); err != nil {
		return err
	}
	for _, status := range p.ThrottleStatus {
		if status < 100 || status > 599 {
			return fmt.Errorf("throttle status %d: want a HTTP status, e.g. 429 or 503", status)
		}
	}
	if p.Limit != nil {
		if err := p.Limit.Validate(); err != nil {
			return err
		}
	}
	for i := range p.Targets {
		if err := p.Targets[i].validate(); err != nil {
			return err
		}
	}
	return nil
}

func (t *Target) validate() error {
	u, err := url.Parse(t.URL)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https" && u.Scheme != SchemeUnix:
		return fmt.Errorf("target %q: want a URL that begins with http://, https:// or unix://", t.URL)
	case u.Scheme != SchemeUnix && u.Hostname() == "":
		return fmt.Errorf("target %q: no host (want e.g. http://127.0.0.1:8000/items)", t.URL)
	case !validMethod(t.Method):
		return fmt.Errorf("target %q: %q cannot be a method (want e.g. GET)", t.URL, t.Method)
	}
	for name, values := range t.Header {
		if !httpguts.ValidHeaderFieldName(name) {
			return fmt.Errorf("target %q: %q cannot be the name of a header", t.URL, name)
		}
		for _, value := range values {
			if !httpguts.ValidHeaderFieldValue(value) {
				return fmt.Errorf("target %q: header %s cannot have the value %q", t.URL, name, value)
			}
		}
	}
	return nil
}

func validMethod(method string) bool {
	_, err := http.NewRequest(method, "http://host/", http.NoBody) //nolint:noctx // never sent: it only checks the method
	return err == nil && method != "" && method != http.MethodConnect
}

// SchemeUnix begins the URL of a target on a unix socket: the path of the
// socket, a colon, and the path of the request, e.g.
// unix:///run/api.sock:/items.
const SchemeUnix = "unix"

// RequestTimeout is how long one request may take.
func (p *Plan) RequestTimeout() time.Duration {
	if p.Timeout == 0 {
		return defaultTimeout
	}
	return p.Timeout
}

// MaxLate is how late a planned request may still be sent, and whether there is
// such a bound at all.
func (p *Plan) MaxLate() (late time.Duration, bounded bool) {
	if p.CatchUp == 0 {
		return p.Shape.catchUp(), true
	}
	return p.CatchUp, p.CatchUp > 0
}

// MaxWorkers is how many requests may be in flight at once.
func (p *Plan) MaxWorkers() int {
	switch {
	case p.Shape.Users() > 0:
		return p.Shape.Users()
	case p.Workers > 0:
		return p.Workers
	case p.Shape.Closed():
		return defaultMaxWorkers
	}
	return defaultWorkers
}

// TokenCost is how many tokens one request takes.
func (p *Plan) TokenCost() int64 { return max(p.Cost, 1) }

// Total is how many requests the plan has, see [Shape.Total].
func (p *Plan) Total() int64 { return p.Shape.Total(p.Duration) }
