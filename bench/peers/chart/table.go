package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"weir/bench/peers"
)

// The columns of the table: what was measured under which load.
var columns = []struct {
	title, outcome string
	callers        int
	unit           string
	show           func(float64) string
}{
	{"admitted: 1 caller", "admitted", 1, "decisions/s", count},
	{"2", "admitted", 2, "decisions/s", count},
	{"64", "admitted", 64, "decisions/s", count},
	{"512", "admitted", 512, "decisions/s", count},
	{"p99 at 64", "admitted", 64, "p99-sec", seconds},
	{"throttled: 64", "throttled", 64, "decisions/s", count},
	{"512", "throttled", 512, "decisions/s", count},
	{"allocs, B", "admitted", 64, "allocs/op", nil},
}

// table writes the medians as Markdown, with the worst of what no limiter should
// do at its end: tokens too many, and calls without a decision.
func table(w io.Writer, cells map[cell]map[string][]float64) error {
	var b strings.Builder
	b.WriteString("| decisions/s |")
	for _, c := range columns {
		fmt.Fprintf(&b, " %s |", c.title)
	}
	fmt.Fprintf(&b, " tokens too many | no decision |\n|---|%s---:|---:|\n", strings.Repeat("---:|", len(columns)))
	for _, peer := range peers.All() {
		line(&b, cells, peer.Name)
	}
	for _, outcome := range []string{"admitted", "throttled"} {
		if m, ok := median(cells[cell{reference, outcome, referenceCallers}]["decisions/s"]); ok {
			fmt.Fprintf(&b, "\n`redis-benchmark -P 64`, one key %s: %s decisions/s.", outcome, count(m))
		}
	}
	_, err := io.WriteString(w, b.String()+"\n")
	return err //nolint:wrapcheck // stdout says enough
}

func line(b *strings.Builder, cells map[cell]map[string][]float64, peer string) {
	excess, errors, measured := 0.0, 0.0, false
	for c, values := range cells {
		if c.peer == peer {
			measured = true
			excess = max(excess, slices.Max(append(values["excess-tokens"], 0)))
			errors = max(errors, slices.Max(append(values["errors-%"], 0)))
		}
	}
	if !measured {
		return
	}
	fmt.Fprintf(b, "| %s |", peer)
	for _, column := range columns {
		values := cells[cell{peer, column.outcome, column.callers}]
		m, ok := median(values[column.unit])
		switch {
		case !ok:
			b.WriteString(" |")
		case column.show == nil:
			bytes, _ := median(values["B/op"])
			fmt.Fprintf(b, " %.0f, %.0f |", m, bytes)
		default:
			fmt.Fprintf(b, " %s |", column.show(m))
		}
	}
	fmt.Fprintf(b, " %.3g | %.3g %% |\n", excess, errors)
}

// median of the rounds; ok is false without any.
func median(values []float64) (m float64, ok bool) {
	if len(values) == 0 {
		return 0, false
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2, true
}

// count writes decisions a second to three digits: 41.3k, 5.98M.
func count(x float64) string {
	switch {
	case x >= 1e6:
		return strconv.FormatFloat(x/1e6, 'f', 2, 64) + "M"
	case x >= 1e5:
		return strconv.FormatFloat(x/1e3, 'f', 0, 64) + "k"
	}
	return strconv.FormatFloat(x/1e3, 'f', 1, 64) + "k"
}

// seconds writes a wait: 410 ns, 12.3 µs, 4.1 ms.
func seconds(x float64) string {
	switch {
	case x < 1e-6:
		return strconv.FormatFloat(x*1e9, 'f', 0, 64) + " ns"
	case x < 1e-3:
		return strconv.FormatFloat(x*1e6, 'f', 0, 64) + " µs"
	}
	return strconv.FormatFloat(x*1e3, 'f', 1, 64) + " ms"
}
