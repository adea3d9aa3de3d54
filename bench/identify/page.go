package identify

import (
	_ "embed" // the page's parts
	"html/template"
	"io"
	"slices"
	"strings"

	"weir/bench/report"
)

var (
	//go:embed assets/page.html.tmpl
	pageText string
	//go:embed assets/page.js
	pageJS string
)

var pageTemplate = template.Must(template.New("identify").Parse(pageText))

// A chart is what the page's script draws.
type chart struct {
	At        report.Column `json:"at_s"`
	Admitted  report.Column `json:"admitted"`
	Envelope  report.Column `json:"envelope,omitempty"` // absent where the kind has no simple one
	Throttled report.Column `json:"throttled_s"`
}

// A namedMeaning is a row of the table of headers.
type namedMeaning struct {
	Name string
	Meaning
}

// WriteHTML writes the answer with its evidence as one page.
func (a *Answer) WriteHTML(w io.Writer, target string) error {
	var body strings.Builder
	err := pageTemplate.Execute(&body, struct {
		*Answer
		Target      string
		Unexplained int
		Headers     []namedMeaning
	}{a, target, a.belief.best().unexplained, []namedMeaning{{"Retry-After", a.RetryAfter}, {"Reset", a.Reset}, {"Remaining", a.Remaining}}})
	if err != nil {
		return err
	}
	return report.Page{
		Title: a.Kind + " – weir identify", Brand: "identify",
		Body: template.HTML(body.String()), //nolint:gosec // G203: html/template has just made it
		Data: a.chart(), Script: pageJS,
	}.Write(w)
}

// chart is the history against the envelope: what was admitted so far, and as much
// more as the fitted limit still had to give.
func (a *Answer) chart() chart {
	c := chart{At: report.Column{}, Admitted: report.Column{}, Throttled: report.Column{}}
	h := a.belief.h
	left := a.belief.left()
	admitted := 0.0
	order := slices.Clone(h.answers)
	slices.SortStableFunc(order, func(x, y answer) int { return compare(x.mid(), y.mid()) })
	for i := range order {
		at := order[i].mid()
		if order[i].admitted {
			admitted++
		} else {
			c.Throttled = append(c.Throttled, at)
		}
		c.At, c.Admitted = append(c.At, at), append(c.Admitted, admitted)
		if left != nil {
			c.Envelope = append(c.Envelope, admitted+max(0, left(at)))
		}
	}
	return c
}

// left returns what the best kind still had to give at an instant, by the middles
// of the intervals; nil where that is not simple to say.
func (b *belief) left() func(at float64) float64 {
	f, h := b.best(), b.h
	times := make([]float64, len(h.admits))
	for k, a := range h.admits {
		times[k] = a.mid()
	}
	since := func(from, to float64) float64 { // admitted in (from, to]
		first, _ := slices.BinarySearchFunc(times, from, after)
		last, _ := slices.BinarySearchFunc(times, to, after)
		return float64(last - first)
	}
	capacity := f.capacity.mid()
	switch f.kind {
	case TokenBucket, LeakyQueue:
		if f.kind == LeakyQueue {
			capacity++ // one goes at once, the others wait
		}
		return b.bucketLeft(times, capacity, f.rate.mid())
	case SlidingLog:
		return func(at float64) float64 { return capacity - since(at-f.period, at) }
	case FixedWindow:
		return func(at float64) float64 {
			begin := at - mod(at-f.phase, f.period)
			return capacity - since(begin, at)
		}
	}
	return nil
}

func after(time, at float64) int {
	if time <= at {
		return -1
	}
	return 1
}

func mod(x, y float64) float64 {
	for x < 0 {
		x += y
	}
	for x >= y {
		x -= y
	}
	return x
}

func (b *belief) bucketLeft(times []float64, capacity, rate float64) func(at float64) float64 {
	levels := make([]float64, len(times)) // after each admission
	level, last := capacity, 0.0
	for k, at := range times {
		level = min(capacity, level+max(0, at-last)*rate) - 1
		levels[k], last = level, at
	}
	return func(at float64) float64 {
		k, _ := slices.BinarySearchFunc(times, at, after)
		if k == 0 {
			return capacity
		}
		return min(capacity, levels[k-1]+(at-times[k-1])*rate)
	}
}
