package live

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"weir/bench/report"
)

const (
	watchEvery   = time.Second
	watchWithin  = 900 * time.Millisecond // a dead API is told of at once, and never holds up the next look
	watchSeconds = 3600                   // kept per API
	maxMetrics   = 8 << 20                // bytes of an answer
	maxBuckets   = 32                     // of the latency histogram
)

// The windows that the page offers, in seconds.
var watchWindows = [...]int64{30, 60, 300, 600, 1800}

// A watch follows the /metrics of one API, and keeps an hour of it second by
// second. It asks for both forms: the JSON has every second since before weir
// looked, the Prometheus text has the latency of admitted requests.
type watch struct {
	number int
	url    string
	client *http.Client

	mu      sync.Mutex
	seconds [watchSeconds]second
	newest  int64 // Unix second
	edges   []float64
	before  []float64 // the histogram's counts at the last look; nil before the first
	status  APIStatus
}

// A second is what an API did in one second of the wall clock.
type second struct {
	ts               int64
	allowed, blocked int64
	tokens, mean     float64 // tokens left; mean latency of all decisions, ms
	buckets          [maxBuckets]uint32
}

// APIStatus is what is known of an API now.
type APIStatus struct {
	URL      string  `json:"url"`
	Error    string  `json:"error"` // why it cannot be read; "" when it can
	Since    int64   `json:"since"` // Unix second of the last good answer; 0 never
	Capacity int64   `json:"capacity"`
	Rate     float64 `json:"rate"`
	Backend  bool    `json:"backend_up"`
	Allowed  int64   `json:"allowed"` // since the API was started
	Denied   int64   `json:"denied"`
	Errors   int64   `json:"errors"` // answered by policy, not by the limiter
}

// A WatchWindow sums up the last seconds.
type WatchWindow struct {
	Seconds int64   `json:"seconds"`
	Allowed int64   `json:"allowed"`
	Blocked int64   `json:"blocked"`
	P50     float64 `json:"p50_ns"` // of admitted requests, as far as the API's buckets tell
	P95     float64 `json:"p95_ns"`
	P99     float64 `json:"p99_ns"`
	Max     float64 `json:"max_ns"` // at most this
	Count   int64   `json:"count"`  // requests behind the latencies
}

// WatchUpdate is an API and some of its seconds, column by column.
type WatchUpdate struct {
	Number  int                      `json:"number"`
	Status  APIStatus                `json:"status"`
	Windows []WatchWindow            `json:"windows"`
	Columns map[string]report.Column `json:"columns"`
}

func newWatch(number int, base *url.URL) *watch {
	return &watch{
		number: number, url: strings.TrimSuffix(base.String(), "/"),
		status: APIStatus{URL: strings.TrimSuffix(base.Redacted(), "/"), Error: "not asked yet"},
		client: &http.Client{
			Timeout:       watchWithin,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// follow looks every second until ctx is done.
func (w *watch) follow(ctx context.Context, hub *hub) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		err := w.look(ctx)
		if ctx.Err() != nil {
			return
		}
		w.mu.Lock()
		w.status.Error = ""
		if err != nil {
			w.status.Error = err.Error()
			w.before = nil // what happens meanwhile belongs to no second
		}
		w.mu.Unlock()
		hub.publish("watch", w.update(time.Now().Unix(), 3))
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (w *watch) look(ctx context.Context) error {
	body, err := w.get(ctx, "application/json")
	if err != nil {
		return err
	}
	var points struct {
		Points []struct {
			TS      int64   `json:"ts"`
			Allowed int64   `json:"allowed"`
			Blocked int64   `json:"blocked"`
			Tokens  float64 `json:"tokens"`
			Mean    float64 `json:"latency_ms"`
		} `json:"points"`
		Capacity int64   `json:"capacity"`
		Rate     float64 `json:"rate"`
	}
	if err := json.Unmarshal(body, &points); err != nil {
		return errors.New("its /metrics is not a weir API's: no JSON")
	}
	text, err := w.get(ctx, "text/plain")
	if err != nil {
		return err
	}
	seen := parseMetrics(string(text))
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range points.Points {
		if p.TS < w.newest-2 || p.TS < 0 { // these seconds are over, and known
			continue
		}
		s := w.at(p.TS)
		s.allowed, s.blocked, s.tokens, s.mean = p.Allowed, p.Blocked, p.Tokens, p.Mean
		w.newest = max(w.newest, p.TS)
	}
	w.status.Since, w.status.Capacity, w.status.Rate = time.Now().Unix(), points.Capacity, points.Rate
	w.status.Allowed, w.status.Denied, w.status.Errors, w.status.Backend = seen.allowed, seen.denied, seen.errors, seen.backend
	w.addBuckets(seen)
	return nil
}

// at is the place of a second, cleared when it held another.
func (w *watch) at(ts int64) *second {
	s := &w.seconds[ts%watchSeconds]
	if s.ts != ts {
		*s = second{ts: ts}
	}
	return s
}

// addBuckets adds what the histogram gained since the last look to this second.
func (w *watch) addBuckets(seen metricsText) {
	counts := seen.counts
	if w.before != nil && len(w.before) == len(counts) {
		s := w.at(time.Now().Unix())
		for i := range counts {
			if gained := counts[i] - w.before[i]; gained > 0 { // else the API was started again
				s.buckets[i] += uint32(gained)
			}
		}
	}
	w.edges, w.before = seen.edges, counts
}

func (w *watch) get(ctx context.Context, accept string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+"/metrics", http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("ask /metrics: %w", err)
	}
	request.Header.Set("Accept", accept)
	response, err := w.client.Do(request)
	if err != nil {
		if failed := (*url.Error)(nil); errors.As(err, &failed) {
			err = failed.Err // the URL is shown beside it
		}
		return nil, fmt.Errorf("no answer: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("its /metrics answers %s", response.Status)
	}
	return io.ReadAll(io.LimitReader(response.Body, maxMetrics))
}

// metricsText is what the page needs of Prometheus' text.
type metricsText struct {
	allowed, denied, errors int64
	backend                 bool
	edges                   []float64 // upper edges of the buckets in ns, the last one's 0 for none
	counts                  []float64 // requests in each bucket, not cumulative
}

// parseMetrics reads the lines of a weir API, added up over its routes.
func parseMetrics(text string) metricsText {
	seen := metricsText{backend: true}
	cumulative := map[string]float64{}
	var order []string
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		series, number, found := strings.Cut(lines.Text(), " ")
		value, err := strconv.ParseFloat(number, 64)
		if !found || err != nil {
			continue
		}
		name, labels, _ := strings.Cut(series, "{")
		switch name {
		case "weir_decisions_total":
			switch label(labels, "outcome") {
			case "allowed":
				seen.allowed += int64(value)
			case "denied":
				seen.denied += int64(value)
			default:
				seen.errors += int64(value)
			}
		case "weir_backend_up":
			seen.backend = value == 1
		case "weir_admitted_duration_seconds_bucket":
			le := label(labels, "le")
			if _, known := cumulative[le]; !known {
				order = append(order, le)
			}
			cumulative[le] += value
		}
	}
	below := 0.0
	for _, le := range order[:min(len(order), maxBuckets)] {
		edge, _ := strconv.ParseFloat(le, 64)
		if le == "+Inf" {
			edge = 0
		}
		seen.edges = append(seen.edges, edge*1e9)
		seen.counts = append(seen.counts, cumulative[le]-below)
		below = cumulative[le]
	}
	return seen
}

// label is the value of a label in name="value",…}.
func label(labels, name string) string {
	_, rest, _ := strings.Cut(labels, name+`="`)
	value, _, _ := strings.Cut(rest, `"`)
	return value
}

// update tells of the last n seconds up to now.
func (w *watch) update(now, n int64) WatchUpdate {
	w.mu.Lock()
	defer w.mu.Unlock()
	u := WatchUpdate{Number: w.number, Status: w.status, Columns: map[string]report.Column{}}
	names := []string{"ts", "allowed", "blocked", "tokens", "p50_ns", "p95_ns", "p99_ns", "max_ns"}
	columns := make([]report.Column, len(names))
	for ts := max(now-n+1, 0); ts <= now; ts++ {
		s := &w.seconds[ts%watchSeconds]
		values := []float64{float64(ts), 0, 0, nan, nan, nan, nan, nan}
		if s.ts == ts {
			values[1], values[2] = float64(s.allowed), float64(s.blocked)
			if s.allowed+s.blocked > 0 {
				values[3] = s.tokens
			}
			if window := w.quantiles(s.buckets[:]); window.Count > 0 {
				values[4], values[5], values[6], values[7] = window.P50, window.P95, window.P99, window.Max
			}
		}
		if s.ts != ts && len(columns[0]) == 0 { // nothing is known before this
			continue
		}
		for i := range columns {
			columns[i] = append(columns[i], values[i])
		}
	}
	for i, name := range names {
		u.Columns[name] = columns[i]
	}
	for _, seconds := range watchWindows {
		u.Windows = append(u.Windows, w.window(now, seconds))
	}
	return u
}

// window sums up the last whole seconds.
func (w *watch) window(now, seconds int64) WatchWindow {
	var buckets [maxBuckets]uint32
	allowed, blocked := int64(0), int64(0)
	for ts := now - seconds; ts < now; ts++ {
		s := &w.seconds[max(ts, 0)%watchSeconds]
		if s.ts != ts {
			continue
		}
		allowed, blocked = allowed+s.allowed, blocked+s.blocked
		for i, n := range s.buckets {
			buckets[i] += n
		}
	}
	found := w.quantiles(buckets[:])
	found.Seconds, found.Allowed, found.Blocked = seconds, allowed, blocked
	return found
}

// quantiles reads quantiles from buckets, evenly spread within each, as
// Prometheus' histogram_quantile does; the maximum is the last bucket's upper edge.
func (w *watch) quantiles(buckets []uint32) (found WatchWindow) {
	for _, n := range buckets {
		found.Count += int64(n)
	}
	at := func(q float64) float64 {
		want, below := q*float64(found.Count), 0.0
		low := 0.0
		for i, edge := range w.edges {
			n := float64(buckets[i])
			if edge == 0 { // beyond the last edge nobody knows
				return low
			}
			if n > 0 && below+n >= want {
				return low + (edge-low)*(want-below)/n
			}
			below, low = below+n, edge
		}
		return low
	}
	if found.Count > 0 {
		found.P50, found.P95, found.P99, found.Max = at(0.5), at(0.95), at(0.99), at(1)
	}
	return found
}
