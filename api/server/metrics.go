package server

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"weir/api/limit"
	"weir/api/limit/guard"
)

// The outcomes of weir_decisions_total.
const (
	outcomeAllowed = iota
	outcomeDenied
	outcomeErrorClosed
	outcomeErrorOpen
	outcomeErrorLocalAllowed
	outcomeErrorLocalDenied
	outcomeAbandoned
)

var outcomeNames = [...]string{
	outcomeAllowed:           "allowed",
	outcomeDenied:            "denied",
	outcomeErrorClosed:       "error_closed",
	outcomeErrorOpen:         "error_open",
	outcomeErrorLocalAllowed: "error_local_allowed",
	outcomeErrorLocalDenied:  "error_local_denied",
	outcomeAbandoned:         "abandoned",
}

func outcomeOf(answer guard.Answer) int {
	switch answer.Source {
	case guard.ByClosed:
		return outcomeErrorClosed
	case guard.ByOpen:
		return outcomeErrorOpen
	case guard.Abandoned:
		return outcomeAbandoned
	case guard.ByLocal:
		if answer.Allowed {
			return outcomeErrorLocalAllowed
		}
		return outcomeErrorLocalDenied
	case guard.Backend:
	}
	if answer.Allowed {
		return outcomeAllowed
	}
	return outcomeDenied
}

// latencyBuckets suit a decision: 20 µs is a memory take or a fast local
// Redis, 1 s is beyond every sensible deadline.
var latencyBuckets = []float64{
	20e-6, 50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 100e-3, 200e-3, 500e-3, 1,
}

// metrics counts decisions and shows them at /metrics. Labels never hold a
// client's key, but for the shownKeys busiest ones.
type metrics struct {
	registry  *prometheus.Registry
	decisions *prometheus.CounterVec
	latency   *prometheus.HistogramVec
	admitted  *prometheus.HistogramVec
	capacity  *prometheus.GaugeVec
	rate      *prometheus.GaugeVec
	points    *points
	routes    []*routeMeter
	promise   limit.Limit // of the first route, for the JSON
}

func newMetrics(maxAge time.Duration, breaker *guard.Breaker) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_decisions_total",
			Help: "Requests by what became of them. error_*: the backend gave no decision, and the policy answered.",
		}, []string{"route", "outcome"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "weir_decision_duration_seconds",
			Help:    "Time to a decision, by whoever made it.",
			Buckets: latencyBuckets,
		}, []string{"route"}),
		admitted: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "weir_admitted_duration_seconds",
			Help:    "Time to a decision that admitted, by whoever made it.",
			Buckets: latencyBuckets,
		}, []string{"route"}),
		capacity: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "weir_limit_capacity_tokens",
			Help: "Tokens a bucket of the route holds.",
		}, []string{"route"}),
		rate: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "weir_limit_rate_tokens_per_second",
			Help: "Tokens a bucket of the route gains a second.",
		}, []string{"route"}),
		points: newPoints(maxAge),
	}
	backendUp := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_backend_up",
		Help: "1 while the limiter's backend is asked, 0 while the breaker keeps requests from it.",
	}, func() float64 {
		if breaker.Away() {
			return 0
		}
		return 1
	})
	m.registry.MustRegister(m.decisions, m.latency, m.admitted, m.capacity, m.rate, backendUp, tokensCollector{m},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// routeMeter is what one route counts, looked up once.
type routeMeter struct {
	path      string
	decisions [len(outcomeNames)]prometheus.Counter
	latency   prometheus.Observer
	admitted  prometheus.Observer
	points    *points
	busiest   *busiest
}

// route adds a route. It is called before the first request.
func (m *metrics) route(path string, l limit.Limit) *routeMeter {
	meter := &routeMeter{
		path:     path,
		latency:  m.latency.WithLabelValues(path),
		admitted: m.admitted.WithLabelValues(path),
		points:   m.points,
		busiest:  newBusiest(),
	}
	for outcome, name := range outcomeNames {
		meter.decisions[outcome] = m.decisions.WithLabelValues(path, name)
	}
	m.capacity.WithLabelValues(path).Set(float64(l.Capacity))
	m.rate.WithLabelValues(path).Set(l.Rate.PerSecond())
	if len(m.routes) == 0 {
		m.promise = l
	}
	m.routes = append(m.routes, meter)
	return meter
}

// observe counts an answer that was asked for at started.
func (m *routeMeter) observe(key string, answer guard.Answer, started time.Time) {
	took, ts := time.Since(started), started.Unix()
	m.decisions[outcomeOf(answer)].Inc()
	m.latency.Observe(took.Seconds())
	if answer.Allowed {
		m.admitted.Observe(took.Seconds())
	}
	switch answer.Source {
	case guard.Backend, guard.ByLocal:
		m.points.add(ts, answer.Allowed, answer.Remaining, took)
		m.busiest.observe(key, answer.Remaining, ts)
	case guard.ByOpen:
		m.points.add(ts, true, -1, took)
	case guard.ByClosed, guard.Abandoned: // neither admitted nor throttled
	}
}

// tokensCollector shows the tokens of the busiest keys.
type tokensCollector struct{ *metrics }

var tokensDesc = prometheus.NewDesc("weir_bucket_tokens",
	"Tokens left after the last decision, for the busiest keys only.", []string{"route", "key"}, nil)

// Describe is part of prometheus.Collector.
func (tokensCollector) Describe(descs chan<- *prometheus.Desc) { descs <- tokensDesc }

// Collect is part of prometheus.Collector.
func (c tokensCollector) Collect(found chan<- prometheus.Metric) {
	type shown struct {
		watched
		path string
	}
	var all []shown
	now := time.Now().Unix()
	for _, route := range c.routes {
		for _, w := range route.busiest.snapshot(now) {
			all = append(all, shown{w, route.path})
		}
	}
	slices.SortFunc(all, func(a, b shown) int { return cmp.Compare(b.count, a.count) })
	for _, s := range all[:min(len(all), shownKeys)] {
		found <- prometheus.MustNewConstMetric(tokensDesc, prometheus.GaugeValue, s.tokens(), s.path, s.key)
	}
}

// handler serves Prometheus' formats, and the predecessor's JSON to clients that
// accept application/json.
func (m *metrics) handler() http.Handler {
	text := promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Vary", "Accept")
		if !wantsJSON(r.Header.Values("Accept")) {
			text.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		writeJSON(w, http.StatusOK, struct {
			Points   []Point `json:"points"`
			Capacity int64   `json:"capacity"`
			Rate     float64 `json:"rate"`
		}{m.points.since(time.Now().Unix()), m.promise.Capacity, m.promise.Rate.PerSecond()})
	})
}

// wantsJSON reports whether the first media type that /metrics has is JSON.
func wantsJSON(accept []string) bool {
	for mediaRange := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		name, _, _ := strings.Cut(mediaRange, ";")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "application/json":
			return true
		case "text/plain", "application/openmetrics-text":
			return false
		}
	}
	return false
}

// writeJSON writes value without a line end.
func writeJSON(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		http.Error(w, `{"detail":"Internal Server Error"}`, http.StatusInternalServerError)
		return
	}
	w.Header()["Content-Type"] = contentJSON
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone: nothing to do about it
}
