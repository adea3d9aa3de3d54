package live

import (
	"math"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"weir/bench/record"
	"weir/bench/report"
)

// The columns of the history, in the order of a row. Rates are requests a second,
// latencies nanoseconds from planned to done, all by the instant of the answer.
const (
	colAt      = iota // s after the start, where the step begins
	colOffered        // the rate that is planned; NaN for closed shapes
	colUsers          // of closed shapes, else NaN
	colAdmitted
	colThrottled
	colFailed
	colAdmittedP50
	colAdmittedP95
	colAdmittedP99
	colAdmittedMax
	colThrottledP50
	colThrottledP99
	colFailedP50
	colFailedP99
	colLagP50
	colLagP99
	colLagMax
	colCount
)

var columnNames = [colCount]string{
	"at_s", "offered", "users", "admitted", "throttled", "failed",
	"admitted_p50_ns", "admitted_p95_ns", "admitted_p99_ns", "admitted_max_ns",
	"throttled_p50_ns", "throttled_p99_ns", "failed_p50_ns", "failed_p99_ns", "lag_p50_ns", "lag_p99_ns", "lag_max_ns",
}

// The rings of the history: what the page plots for the last minute, the last
// hour, and the last day.
var ringSizes = [...]struct {
	step time.Duration
	rows int
}{{250 * time.Millisecond, 480}, {time.Second, 3600}, {10 * time.Second, 8640}}

const (
	rings = len(ringSizes)
	// openCells of the finest step are filled at once: answers come about in the
	// order of their instants, not exactly.
	openCells = 16
	// The attack hands answers over every 200 ms, k6 writes them every second.
	settleAttack = 300 * time.Millisecond
	settleK6     = 2500 * time.Millisecond
)

// A row is one step of the history.
type row [colCount]float64

// A cell is what happened within a step.
type cell struct {
	outcomes [len(record.Outcomes)]int64
	latency  [len(record.Outcomes)]*hdrhistogram.Histogram
	lag      *hdrhistogram.Histogram
}

// newCell returns a cell whose histograms tell durations from 1 µs to 1 h apart
// by two digits, in 36 kB each.
func newCell() *cell {
	histogram := func() *hdrhistogram.Histogram {
		return hdrhistogram.New(int64(time.Microsecond), int64(time.Hour), 2)
	}
	c := &cell{lag: histogram()}
	for i := range c.latency {
		c.latency[i] = histogram()
	}
	return c
}

func count(h *hdrhistogram.Histogram, ns int64) {
	_ = h.RecordValue(min(max(ns, 0), int64(time.Hour))) // within the range, so it cannot fail
}

func (c *cell) add(r *record.Record) {
	c.outcomes[r.Outcome]++
	count(c.latency[r.Outcome], r.Latency())
	count(c.lag, r.Sent-r.Planned)
}

func (c *cell) merge(o *cell) {
	for i, n := range o.outcomes {
		if n > 0 {
			c.outcomes[i] += n
			c.latency[i].Merge(o.latency[i])
		}
	}
	if o.lag.TotalCount() > 0 {
		c.lag.Merge(o.lag)
	}
}

// reset empties the cell, those histograms that hold something.
func (c *cell) reset() {
	for i := range c.outcomes {
		if c.outcomes[i] > 0 {
			c.outcomes[i] = 0
			c.latency[i].Reset()
		}
	}
	if c.lag.TotalCount() > 0 {
		c.lag.Reset()
	}
}

func (c *cell) row(at, step time.Duration) row {
	r := row{}
	for i := range r {
		r[i] = math.NaN()
	}
	r[colAt] = at.Seconds()
	r[colAdmitted] = float64(c.outcomes[record.Admitted]) / step.Seconds()
	r[colThrottled] = float64(c.outcomes[record.Throttled]) / step.Seconds()
	r[colFailed] = float64(c.outcomes[record.Failed]) / step.Seconds()
	put := func(h *hdrhistogram.Histogram, first int, quantiles ...float64) {
		if h.TotalCount() == 0 {
			return
		}
		for i, q := range quantiles {
			r[first+i] = float64(h.ValueAtQuantile(q))
		}
	}
	put(c.latency[record.Admitted], colAdmittedP50, 50, 95, 99, 100)
	put(c.latency[record.Throttled], colThrottledP50, 50, 99)
	put(c.latency[record.Failed], colFailedP50, 50, 99)
	put(c.lag, colLagP50, 50, 99, 100)
	return r
}

// A history keeps the rows of an attack in rings of three steps. It is used by
// one goroutine at a time.
type history struct {
	origin int64 // ns since the epoch
	// load is what is offered at an instant since the origin: the rate, the users;
	// NaN is none.
	load   func(time.Duration) (rate, users float64)
	settle time.Duration // how long after its end a step waits for answers still to be handed over

	open   [openCells]*cell // of the finest step, the first of them at index first
	first  int64            // number of the oldest open step
	coarse [rings]*cell     // the open step of each coarser ring; the finest's is unused
	rows   [rings][]row     // rings; the oldest at ended % len when full
	ended  [rings]int64     // rows ever added
	fresh  [rings][]row     // ended since they were last taken
}

func newHistory(origin int64, load func(time.Duration) (rate, users float64)) *history {
	h := &history{origin: origin, load: load, settle: settleAttack}
	for i := range h.open {
		h.open[i] = newCell()
	}
	for i := 1; i < rings; i++ {
		h.coarse[i] = newCell()
	}
	return h
}

// add counts a record in the step of its answer. One that comes later than
// openCells steps counts in the oldest step that is open.
func (h *history) add(r *record.Record) {
	i := max((r.Done-h.origin)/int64(ringSizes[0].step), h.first)
	for i >= h.first+openCells {
		h.end()
	}
	h.open[i%openCells].add(r)
}

// advance ends the steps that nothing can be added to any more at an instant.
func (h *history) advance(now int64) {
	step := int64(ringSizes[0].step)
	for h.origin+(h.first+1)*step+int64(h.settle) <= now {
		h.end()
	}
}

// finish ends every step that holds something, to the whole second.
func (h *history) finish() {
	last := h.first - 1
	for i := h.first; i < h.first+openCells; i++ {
		if h.open[i%openCells].outcomes != [len(record.Outcomes)]int64{} {
			last = i
		}
	}
	each := int64(ringSizes[1].step / ringSizes[0].step)
	for h.first <= last || h.first%each != 0 {
		h.end()
	}
}

// end ends the oldest open step of the finest ring, and those of the coarser
// rings that end with it.
func (h *history) end() {
	c := h.open[h.first%openCells]
	h.keep(0, c, h.first)
	for i := 1; i < rings; i++ {
		h.coarse[i].merge(c)
		each := int64(ringSizes[i].step / ringSizes[0].step)
		if (h.first+1)%each == 0 {
			h.keep(i, h.coarse[i], h.first/each)
			h.coarse[i].reset()
		}
	}
	c.reset()
	h.first++
}

func (h *history) keep(ring int, c *cell, number int64) {
	step := ringSizes[ring].step
	at := time.Duration(number) * step
	r := c.row(at, step)
	r[colOffered], r[colUsers] = h.load(at + step/2)
	if len(h.rows[ring]) < ringSizes[ring].rows {
		h.rows[ring] = append(h.rows[ring], r)
	} else {
		h.rows[ring][h.ended[ring]%int64(len(h.rows[ring]))] = r
	}
	h.ended[ring]++
	h.fresh[ring] = append(h.fresh[ring], r)
}

// take returns the rows that ended since it was last called, per ring.
func (h *history) take() [rings][]report.Column {
	var taken [rings][]report.Column
	for i := range h.fresh {
		for j := range h.fresh[i] {
			taken[i] = append(taken[i], h.fresh[i][j][:])
		}
		h.fresh[i] = nil
	}
	return taken
}

// A Ring is the history at one step, column by column.
type Ring struct {
	Step    float64                  `json:"step_s"`
	Most    int                      `json:"most_rows"`
	Columns map[string]report.Column `json:"columns"`
}

// all returns every ring, the oldest row first.
func (h *history) all() []Ring {
	all := make([]Ring, rings)
	for i, rows := range h.rows {
		all[i] = Ring{ringSizes[i].step.Seconds(), ringSizes[i].rows, map[string]report.Column{}}
		for column, name := range columnNames {
			values := make(report.Column, len(rows))
			for j := range rows {
				values[j] = h.ordered(i, j)[column]
			}
			all[i].Columns[name] = values
		}
	}
	return all
}

// ordered is row j of a ring, counted from its oldest.
func (h *history) ordered(ring, j int) *row {
	rows := h.rows[ring]
	if len(rows) < ringSizes[ring].rows {
		return &rows[j]
	}
	return &rows[(h.ended[ring]+int64(j))%int64(len(rows))]
}
