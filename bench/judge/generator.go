package judge

import (
	"time"

	"weir/bench/record"
	"weir/bench/run"
)

// lateAfter is the send lag above which a request counts as late.
const lateAfter = time.Millisecond

// fellShort is the share of planned requests that may go unsent before the load
// was not the planned one.
const fellShort = 0.01

// lagNotes gather how late requests were sent.
type lagNotes struct {
	sent, late int64
	most       int64 // ns
}

func (n *lagNotes) add(r *record.Record) {
	n.sent++
	lag := r.Sent - r.Planned
	if lag > int64(lateAfter) {
		n.late++
	}
	n.most = max(n.most, lag)
}

// report says what the generator planned and sent: by its own counts, or by the
// records where it left none.
func (n *lagNotes) report(counts *run.Counts) Generator {
	g := Generator{Planned: n.sent, Sent: n.sent, Late: n.late, MostLag: time.Duration(n.most)}
	if counts != nil {
		g.Counted = true
		g.Planned, g.Sent, g.Dropped = counts.Planned, counts.Sent, counts.Dropped
		g.Late = max(g.Late, counts.Late)
	}
	unsent := max(g.Dropped, g.Planned-g.Sent)
	g.Verdict = Holds
	if unsent > 0 && float64(unsent) >= fellShort*float64(g.Planned) {
		g.Verdict = Inconclusive
	}
	return g
}
