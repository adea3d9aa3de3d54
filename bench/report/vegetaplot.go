package report

import (
	"io"
	"slices"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
	"github.com/tsenart/vegeta/v12/lib/plot"
)

// writeVegeta writes vegeta's own plot of a plan's latencies. It is fed the
// quickest and the slowest request of each outcome in each step of the
// timeline, some 3,000 at most, so spikes stay and the file stays small.
func (p *Plan) writeVegeta(w io.Writer) error {
	samples := slices.Clone(p.samples)
	slices.SortStableFunc(samples, func(a, b sample) int { return int(a.sent - b.sent) })
	outcomes := make([]string, len(samples))
	page := plot.New(plot.Title("weir: "+fileName(p.Name)), plot.Label(func(r *vegeta.Result) string { return outcomes[r.Seq] }))
	for i, s := range samples {
		outcomes[i] = s.outcome
		if s.outcome == "failed" {
			outcomes[i] = "ERROR failed" // vegeta paints labels with ERROR in them red
		}
		err := page.Add(&vegeta.Result{
			Attack: fileName(p.Name), Seq: uint64(i), Code: uint16(s.status),
			Timestamp: time.Unix(0, s.sent), Latency: s.latency,
		})
		if err != nil {
			return err
		}
	}
	page.Close()
	_, err := page.WriteTo(w)
	return err
}
