package faults

import (
	"bufio"
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/bench/stack"
)

// sampleEvery is how often the API processes are asked for their metrics.
const sampleEvery = 250 * time.Millisecond

// A sample is what one API process said of itself.
type sample struct {
	api    int // which
	values [len(sampled)]float64
}

// sampled is what is kept of /metrics, in this order.
var sampled = [...]string{goroutines, resident, heap, files}

// of is one of the values.
func (s *sample) of(name string) float64 { return s.values[slices.Index(sampled[:], name)] }

// What is read of /metrics.
const (
	goroutines = "go_goroutines"
	resident   = "process_resident_memory_bytes"
	heap       = "go_memstats_heap_inuse_bytes"
	files      = "process_open_fds"
	backendUp  = "weir_backend_up"
)

// sample asks all API processes until told to stop.
func (s *Scene) sample(stop <-chan struct{}) {
	ticker := time.NewTicker(sampleEvery)
	defer ticker.Stop()
	for {
		for i, api := range s.alive() {
			if m := scrape(s.ctx, api.URL); m != nil {
				s.mu.Lock()
				s.samples = append(s.samples, sample{i, [...]float64{m[goroutines], m[resident], m[heap], m[files]}})
				s.mu.Unlock()
			}
		}
		select {
		case <-ticker.C:
		case <-stop:
			return
		}
	}
}

// alive are the API processes that run now.
func (s *Scene) alive() []*stack.API {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*stack.API(nil), s.apis...)
}

var scraper = &http.Client{Timeout: 2 * time.Second}

// scrape reads the metrics of an API; nil when it does not answer.
func scrape(ctx context.Context, url string) map[string]float64 {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/metrics", http.NoBody)
	if err != nil {
		return nil
	}
	response, err := scraper.Do(request)
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	metrics := map[string]float64{}
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if name, value, found := strings.Cut(lines.Text(), " "); found && !strings.HasPrefix(name, "#") {
			if n, err := strconv.ParseFloat(value, 64); err == nil {
				metrics[name] = n
			}
		}
	}
	return metrics
}

// decisions sums a decision counter over all API processes that run.
func (s *Scene) decisions(outcome string) int64 {
	n := 0.0
	for _, api := range s.apis {
		n += scrape(s.ctx, api.URL)[`weir_decisions_total{outcome="`+outcome+`",route="/items"}`]
	}
	return int64(n)
}

// extent is the first, largest and last value of a metric, over all processes together.
func (s *Scene) extent(name string) (first, most, last float64) {
	of := map[int]float64{}
	for i := range s.samples {
		sample := &s.samples[i]
		of[sample.api] = sample.of(name)
		sum := 0.0
		for _, v := range of {
			sum += v
		}
		if len(of) == len(s.apis) && first == 0 {
			first = sum
		}
		most, last = max(most, sum), sum
	}
	return first, most, last
}
