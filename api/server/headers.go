package server

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"weir/api/limit"
	"weir/api/limit/guard"
)

// The names on the wire, spelled as clients know them. They are map keys of
// their own, not Go's canonical form: read them from a response, where net/http
// has made them canonical, not from a handler's header map.
const (
	headerCapacity   = "X-RateLimit-Capacity"   // tokens the bucket holds
	headerRate       = "X-RateLimit-Rate"       // tokens it gains a second, decimal
	headerRemaining  = "X-RateLimit-Remaining"  // tokens left, two decimals, rounded down
	headerDecidedAt  = "X-RateLimit-Decided-At" // µs since the epoch by the limiter's clock
	headerRateLimit  = "RateLimit"              // draft-ietf-httpapi-ratelimit-headers-10
	headerPolicy     = "RateLimit-Policy"       // the same
	headerRetryAfter = "Retry-After"            // whole seconds
)

// Values that never change are shared between responses: net/http only reads them.
var (
	contentJSON = []string{"application/json"}
	noStore     = []string{"no-store"}
)

// A promise is what the headers of one route say of its limit.
type promise struct {
	limit                  limit.Limit
	name                   string // the policy's name, quoted: `"items"`
	capacity, rate, policy []string
}

func newPromise(path string, l limit.Limit) promise {
	name := `"` + strings.Trim(path, "/") + `"`
	policy := name + ";q=" + strconv.FormatInt(l.Capacity, 10)
	if l.Rate.Tokens > 0 {
		// A bucket has no window. The time to fill it gives the quota its rate.
		toFull := (l.Capacity*l.Rate.Seconds + l.Rate.Tokens - 1) / l.Rate.Tokens
		policy += ";w=" + strconv.FormatInt(toFull, 10)
	}
	return promise{
		limit:    l,
		name:     name,
		capacity: []string{strconv.FormatInt(l.Capacity, 10)},
		rate:     []string{strconv.FormatFloat(l.Rate.PerSecond(), 'f', -1, 64)},
		policy:   []string{policy},
	}
}

// write puts the answer into the headers. All that is particular to a response
// is one string cut into pieces, and one array of those pieces.
func (p *promise) write(h http.Header, answer guard.Answer) {
	h[headerCapacity], h[headerRate], h[headerPolicy] = p.capacity, p.rate, p.policy
	if answer.Source == guard.ByOpen {
		return // admitted unseen: nobody knows what remains
	}
	var room [128]byte
	text := appendHundredths(room[:0], answer.Remaining)
	remaining := len(text)
	text = append(text, p.name...)
	text = append(text, ";r="...)
	text = strconv.AppendInt(text, answer.Remaining/limit.MicroToken, 10)
	if wait := p.more(answer.Decision); wait > 0 {
		text = append(text, ";t="...)
		text = strconv.AppendInt(text, wait, 10)
	}
	rateLimit := len(text)
	text = strconv.AppendInt(text, answer.DecidedAt, 10)
	decidedAt := len(text)
	if after := retryAfter(answer.Decision); after > 0 {
		text = strconv.AppendInt(text, after, 10)
	}

	all := string(text)
	values := &[4]string{all[:remaining], all[remaining:rateLimit], all[rateLimit:decidedAt], all[decidedAt:]}
	h[headerRemaining] = values[0:1:1]
	h[headerRateLimit] = values[1:2:2]
	if answer.DecidedAt != 0 { // a leased token was decided by no clock
		h[headerDecidedAt] = values[2:3:3]
	}
	if values[3] != "" {
		h[headerRetryAfter] = values[3:4:4]
	}
}

// more is the t of the RateLimit field: seconds until there is more quota,
// rounded up. It is only told where there is none now (0 leaves it out), since
// "r=19;t=1" would read as 19 a second.
func (p *promise) more(d limit.Decision) int64 {
	if !d.Allowed {
		return retryAfter(d) // the draft wants Retry-After no earlier than t
	}
	missing := limit.MicroToken - d.Remaining
	if missing <= 0 || p.limit.Rate.Tokens == 0 {
		return 0
	}
	microseconds := (missing*p.limit.Rate.Seconds + p.limit.Rate.Tokens - 1) / p.limit.Rate.Tokens
	return (microseconds + 999_999) / 1_000_000
}

// retryAfter is the wait in whole seconds, rounded up and at least 1 for a
// throttled request: rounded down it would invite a second 429. 0: admitted.
// −1: no wait helps, and there is no header.
func retryAfter(d limit.Decision) int64 {
	switch {
	case d.Allowed:
		return 0
	case d.RetryAfter < 0:
		return -1
	}
	return max(1, int64((d.RetryAfter+time.Second-1)/time.Second))
}

// appendHundredths writes micro-tokens as tokens with two decimals, rounded
// down: nobody is told of a hundredth that is not there.
func appendHundredths(text []byte, microTokens int64) []byte {
	hundredths := microTokens / (limit.MicroToken / 100)
	text = strconv.AppendInt(text, hundredths/100, 10)
	return append(text, '.', byte('0'+hundredths/10%10), byte('0'+hundredths%10))
}
