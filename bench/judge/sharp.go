package judge

import (
	"math"

	"weir/bench/record"
)

// sharpen builds the history of a key by the limiter's own clock: every answered
// request is a point, with no tick, granularity or drift to allow for.
//
// It is not done where an answer carries no decision time, or where decision times
// contradict the order of events: a request sent after another was admitted cannot
// have been decided before it, since the clock of a bucket never falls. The latter
// is told as a contradiction.
//
// But the clock of what takes nothing may fall: a limiter only keeps the time of its
// last charge. A request throttled at 105 may come before one admitted at 104, if that
// costs less. With one cost for all that cannot be: what was not there at 105 was not
// there at 104. Otherwise a request that took nothing stands for the tick before its
// time.
//
// A failed request has no decision time. It was charged, if at all, not before any
// admission whose answer had arrived when it was sent.
func (t *trial) sharpen(rows []int32, f *findings) (*history, bool) {
	c := t.cols
	first, last, ok := c.decisions(rows)
	if !ok {
		return nil, false
	}
	h := t.newHistory(rows)
	h.row = append([]int32(nil), rows...)
	h.sharp, h.origin = true, first*1000
	floor, ok := t.floors(f, rows, first)
	if !ok {
		return nil, false
	}
	back := int64(0)
	if !c.oneCost(rows) {
		back = t.opt.tick()
	}
	at := func(row int32) int64 { // ns since first
		if c.outcome[row] == record.Failed {
			return (floor[row] - first) * 1000
		}
		return (c.decided[row] - first) * 1000
	}
	from := func(row int32) int64 {
		if c.outcome[row] == record.Admitted && c.cost[row] > 0 {
			return at(row)
		}
		return max(at(row)-back, 0)
	}
	sortRows(h.row, from, &t.scratch)
	for i, row := range h.row {
		h.start[i], h.end[i], h.cost[i] = from(row), at(row), c.cost[row]
		if c.outcome[row] == record.Failed {
			h.end[i] = never
		}
	}
	return h, h.fit(t.opt.Limit, (last-first)*1000, 0) == nil
}

// oneCost says that all answered rows cost the same, and something.
func (c *columns) oneCost(rows []int32) bool {
	cost := int64(0)
	for _, row := range rows {
		if c.outcome[row] == record.Failed {
			continue
		}
		if c.cost[row] == 0 || cost > 0 && c.cost[row] != cost {
			return false
		}
		cost = c.cost[row]
	}
	return true
}

// decisions is the first and the last decision time of the answered rows. It is
// not ok unless there is one and all have one.
func (c *columns) decisions(rows []int32) (first, last int64, ok bool) {
	if c.decided == nil {
		return 0, 0, false
	}
	first, last = math.MaxInt64, 0
	for _, row := range rows {
		if c.outcome[row] == record.Failed {
			continue
		}
		d := c.decided[row]
		if d <= 0 {
			return 0, 0, false
		}
		first, last = min(first, d), max(last, d)
	}
	return first, last, last > 0
}

// floors goes over the rows as they were sent and compares each with the latest
// decision time among the admitted ones that were done by then. It returns that
// time for the failed rows, and whether no answered one is below it.
func (t *trial) floors(f *findings, rows []int32, first int64) (map[int32]int64, bool) {
	c, grain := t.cols, int64(t.opt.Granularity)
	admitted := sized(&t.scratch.perm, len(rows))[:0]
	for _, row := range rows {
		if c.outcome[row] == record.Admitted && c.cost[row] > 0 {
			admitted = append(admitted, row)
		}
	}
	sortRows(admitted, func(row int32) int64 { return c.done[row] }, &t.scratch)
	floors, floor := map[int32]int64{}, first
	for _, row := range rows {
		for len(admitted) > 0 && c.done[admitted[0]]+grain < c.sent[row]-grain {
			floor = max(floor, c.decided[admitted[0]])
			admitted = admitted[1:]
		}
		switch {
		case c.outcome[row] == record.Failed:
			floors[row] = floor
		case c.decided[row] < floor:
			f.lied++
			f.lies = appendSome(f.lies, Contradiction{
				Key: f.key, SentNS: c.sent[row], Header: "X-RateLimit-Decided-At",
				Said: float64(c.decided[row]), Limit: float64(floor), Why: DecidedBackwards,
			})
			return nil, false
		}
	}
	return floors, true
}
