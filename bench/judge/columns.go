package judge

import (
	"iter"
	"math"

	"weir/bench/record"
)

// columns hold what the judge needs of each record, without pointers, so that
// ten million records are a few hundred megabytes that the collector never walks.
type columns struct {
	ids   map[string]int32
	names []string // by key id

	key     []int32 // nil while there is one key
	sent    []int64
	done    []int64
	cost    []int64
	outcome []record.Outcome

	// Columns that stay nil until an answer carries the header.
	decided []int64 // µs by the limiter's clock; 0 absent
	// Seven digits of a header are enough: what is held against it allows for that.
	remaining []float32 // X-RateLimit-Remaining; NaN absent
	left      []float32 // RateLimit r=; NaN absent
	after     []float32 // Retry-After in seconds; NaN absent
	// A reset may be a Unix time.
	reset []float64 // X-RateLimit-Reset; NaN absent
	more  []float64 // RateLimit t=, in seconds; NaN absent
}

func newColumns() columns { return columns{ids: map[string]int32{}} }

func (c *columns) add(r *record.Record) {
	n := len(c.sent)
	id, known := c.ids[r.Key]
	if !known {
		id = int32(len(c.names))
		c.ids[r.Key] = id
		c.names = append(c.names, r.Key)
	}
	if id > 0 && c.key == nil {
		c.key = make([]int32, n, cap(c.sent)+1)
	}
	if c.key != nil {
		c.key = append(c.key, id)
	}
	c.sent = append(c.sent, min(r.Sent, r.Done)) // a clock that stepped back: either order may be true
	c.done = append(c.done, max(r.Sent, r.Done))
	c.cost = append(c.cost, r.Cost)
	c.outcome = append(c.outcome, r.Outcome)
	decided := r.Quota.DecidedAt
	if decided < 0 || decided > mostTime/1000 {
		decided = 0 // not a time
	}
	if decided != 0 && c.decided == nil {
		c.decided = make([]int64, n, cap(c.sent))
	}
	if c.decided != nil {
		c.decided = append(c.decided, decided)
	}
	c.remaining = appendOptional(c.remaining, n, cap(c.sent), r.Quota.Remaining)
	c.left = appendOptional(c.left, n, cap(c.sent), r.Quota.FieldLeft)
	c.after = appendOptional(c.after, n, cap(c.sent), r.Quota.RetryAfter)
	c.more = appendOptional(c.more, n, cap(c.sent), r.Quota.FieldReset)
	c.reset = appendOptional(c.reset, n, cap(c.sent), r.Quota.Reset)
}

// appendOptional appends to a column that exists only once a value is there.
func appendOptional[F float32 | float64](column []F, n, room int, value float64) []F {
	if column == nil {
		if !present(value) {
			return nil
		}
		column = make([]F, n, room)
		for i := range column {
			column[i] = F(math.NaN())
		}
	}
	return append(column, F(value))
}

func optional[F float32 | float64](column []F, row int32) float64 {
	if column == nil {
		return math.NaN()
	}
	return float64(column[row])
}

// byKey goes over the keys, each with its rows in the order of sent. The rows are
// good until the next key.
func (c *columns) byKey(s *scratch) iter.Seq2[int32, []int32] {
	n := len(c.sent)
	rows := make([]int32, n)
	for i := range rows {
		rows[i] = int32(i)
	}
	sortRows(rows, func(row int32) int64 { return c.sent[row] }, s)
	starts := make([]int32, len(c.names)+1)
	if len(c.names) > 1 {
		// A stable counting sort by key keeps the order of sent within each.
		for _, id := range c.key {
			starts[id+1]++
		}
		for id := range c.names {
			starts[id+1] += starts[id]
		}
		sorted, next := make([]int32, n), append([]int32(nil), starts...)
		for _, row := range rows {
			id := c.key[row]
			sorted[next[id]] = row
			next[id]++
		}
		rows = sorted
	} else if len(c.names) == 1 {
		starts[1] = int32(n)
	}
	return func(yield func(int32, []int32) bool) {
		for id := range c.names {
			if !yield(int32(id), rows[starts[id]:starts[id+1]]) {
				return
			}
		}
	}
}
