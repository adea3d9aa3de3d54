package record

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// most is the largest number a quota header can sensibly carry; epoch
// milliseconds fit below it.
const most = 1e15

// ParseQuota reads what an answer's headers say of the limit: the X-RateLimit-*
// and RateLimit-* families, RateLimit and RateLimit-Policy as drafts 8 to 11 of
// draft-ietf-httpapi-ratelimit-headers write them (and RateLimit as draft 7
// did), Retry-After, and X-RateLimit-Decided-At.
//
// It asks header for each name in canonical form ("X-Ratelimit-Remaining"), so
// that neither net/http nor fasthttp has to rewrite it; header returns "" for an
// absent one, and several lines of one name joined by commas. Done is the
// instant of the answer in nanoseconds since the epoch: a Retry-After that is a
// date counts from the answer's Date header, or from done where that is absent.
//
// What is not a plain decimal number from 0 to 10¹⁵ is taken as absent. So is a
// negative Retry-After: HTTP knows none, and of an API that sends one nothing can
// be promised.
func ParseQuota(header func(name string) string, done int64) Quota {
	q := NoQuota
	q.Limit = first(header, "X-Ratelimit-Capacity", "X-Ratelimit-Limit", "Ratelimit-Limit", "X-Rate-Limit-Limit")
	q.Rate = first(header, "X-Ratelimit-Rate")
	q.Remaining = first(header, "X-Ratelimit-Remaining", "Ratelimit-Remaining", "X-Rate-Limit-Remaining")
	q.Reset = first(header, "X-Ratelimit-Reset", "Ratelimit-Reset", "X-Rate-Limit-Reset")
	if at := header("X-Ratelimit-Decided-At"); at != "" {
		if us, err := strconv.ParseInt(at, 10, 64); err == nil && us > 0 && us < most*100 {
			q.DecidedAt = us
		}
	}
	if after := header("Retry-After"); after != "" {
		q.RetryAfter = retryAfter(after, header, done)
	}
	policy := parseField(&q, header("Ratelimit"))
	if policies := header("Ratelimit-Policy"); policies != "" {
		parsePolicy(&q, policies, policy)
	}
	return q
}

// first is the number in the first of the named headers that carries one.
func first(header func(string) string, names ...string) float64 {
	for _, name := range names {
		text := header(name)
		if text == "" {
			continue
		}
		// "100, 100;w=60": drafts 0 to 6 let the policies follow the number.
		if n := number(text[:numberEnd(text)]); !math.IsNaN(n) {
			return n
		}
		if at, err := http.ParseTime(text); err == nil && at.Unix() >= 0 { // a Reset in words
			return float64(at.Unix())
		}
	}
	return math.NaN()
}

func numberEnd(text string) int {
	if end := strings.IndexAny(text, ",;"); end >= 0 {
		return end
	}
	return len(text)
}

// number reads a plain decimal: digits, at most one point, nothing else.
func number(text string) float64 {
	text = strings.TrimSpace(text)
	digits, points := 0, 0
	for i := range len(text) {
		switch c := text[i]; {
		case c >= '0' && c <= '9':
			digits++
		case c == '.':
			points++
		default:
			return math.NaN()
		}
	}
	if digits == 0 || points > 1 {
		return math.NaN()
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || n > most {
		return math.NaN()
	}
	return n
}

func retryAfter(text string, header func(string) string, done int64) float64 {
	if n := number(text); !math.IsNaN(n) {
		return n
	}
	until, err := http.ParseTime(text)
	if err != nil {
		return math.NaN()
	}
	now := time.Unix(0, done)
	if date, err := http.ParseTime(header("Date")); err == nil {
		now = date
	}
	return max(0, until.Sub(now).Seconds())
}

// parseField reads the RateLimit field and returns the name, as written, of the
// policy with the fewest tokens left.
func parseField(q *Quota, field string) (policy string) {
	for field != "" {
		var item string
		item, field = cut(field, ',')
		name, params := cut(item, ';')
		key, value, dictionary := strings.Cut(strings.TrimSpace(name), "=")
		if dictionary && !strings.HasPrefix(key, `"`) {
			parseDraft7(q, key, value)
			continue
		}
		left := param(params, "r")
		if math.IsNaN(left) || left >= q.FieldLeft {
			continue
		}
		q.FieldLeft, q.FieldReset = left, param(params, "t")
		policy = strings.TrimSpace(name)
	}
	return policy
}

// parseDraft7 takes one member of "limit=100, remaining=50, reset=5".
func parseDraft7(q *Quota, key, value string) {
	n := number(value)
	switch key {
	case "limit":
		if math.IsNaN(q.Limit) {
			q.Limit = n
		}
	case "remaining":
		q.FieldLeft = n
	case "reset":
		q.FieldReset = n
	}
}

// parsePolicy reads the named policy from the RateLimit-Policy field: the only
// one where none is named so.
func parsePolicy(q *Quota, policies, policy string) {
	for rest := policies; rest != ""; {
		var item string
		item, rest = cut(rest, ',')
		name, params := cut(item, ';')
		name = strings.TrimSpace(name)
		alone := len(item) == len(policies)
		if name != policy && !alone {
			continue
		}
		q.Quota, q.Window = param(params, "q"), param(params, "w")
		if math.IsNaN(q.Quota) {
			q.Quota = number(name) // draft 7: 100;w=60
		}
		return
	}
}

// param is the number that the parameters of a structured item give to name.
func param(params, name string) float64 {
	n := math.NaN()
	for params != "" {
		var one string
		one, params = cut(params, ';')
		if key, value, ok := strings.Cut(strings.TrimSpace(one), "="); ok && key == name {
			n = number(value)
		}
	}
	return n
}

// cut is strings.Cut at the first sep outside double quotes.
func cut(s string, sep byte) (before, after string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++
		case c == sep && !quoted:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}
