package report

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/perf/benchfmt"
)

// WriteBenchmarks writes the run in Go's benchmark format, one line for each
// plan and one for each target where a plan has several, so that benchstat
// compares runs:
//
//	BenchmarkLoad/plan=overload 5000 103 admitted-p50-ns 4.98 admitted/s …
func (r *Report) WriteBenchmarks(w io.Writer) error {
	config := []benchfmt.Config{
		{Key: "goos", Value: []byte(r.Run.Host.OS), File: true},
		{Key: "goarch", Value: []byte(r.Run.Host.Arch), File: true},
		{Key: "cpu", Value: []byte(r.Run.Host.CPU), File: true},
		{Key: "suite", Value: []byte(r.Run.Suite), File: true},
		{Key: "commit", Value: []byte(r.Run.Commit), File: true},
		{Key: "redis", Value: []byte(strings.TrimSpace(r.Run.Store.Kind + " " + r.Run.Store.Version)), File: true},
	}
	known := config[:0]
	for _, c := range config {
		if len(c.Value) > 0 {
			c.Value = []byte(oneLine(string(c.Value)))
			known = append(known, c)
		}
	}
	out := benchfmt.NewWriter(w)
	for i := range r.Plans {
		p := &r.Plans[i]
		if p.Records == 0 {
			continue
		}
		name := "Load/plan=" + fileName(p.Name)
		if err := out.Write(benchLine(name, int(p.Records), p.benchValues(), known)); err != nil {
			return fmt.Errorf("write benchmark lines: %w", err)
		}
		if len(p.Targets) < 2 {
			continue
		}
		for j, t := range p.Targets {
			if t.Service.Count == 0 {
				continue
			}
			target := fileName(t.Name)
			if strings.Contains(t.Name, "://") { // ports change from run to run, names must not
				target = strconv.Itoa(j + 1)
			}
			line := benchLine(name+"/target="+target, int(t.Service.Count), latencyValues(nil, "service", t.Service), known)
			if err := out.Write(line); err != nil {
				return fmt.Errorf("write benchmark lines: %w", err)
			}
		}
	}
	return nil
}

func benchLine(name string, n int, values []benchfmt.Value, config []benchfmt.Config) *benchfmt.Result {
	return &benchfmt.Result{Config: config, Name: benchfmt.Name(name), Iters: n, Values: values}
}

func (p *Plan) benchValues() []benchfmt.Value {
	values := []benchfmt.Value{}
	for _, o := range p.Outcomes {
		if o.Count == 0 {
			continue
		}
		values = latencyValues(values, o.Name, o.Latency)
		if seconds := p.Elapsed.Seconds(); seconds > 0 {
			values = append(values, benchfmt.Value{Value: float64(o.Count) / seconds, Unit: o.Name + "/s"})
		}
	}
	return append(values, benchfmt.Value{Value: float64(p.SendLag.P99), Unit: "sendlag-p99-ns"})
}

func latencyValues(values []benchfmt.Value, prefix string, q Quantiles) []benchfmt.Value {
	return append(values,
		benchfmt.Value{Value: float64(q.P50), Unit: prefix + "-p50-ns"},
		benchfmt.Value{Value: float64(q.P99), Unit: prefix + "-p99-ns"})
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// fileName makes a name safe in a path, a URL and a benchmark name: letters,
// digits, "-", "_" and "." stay, all else becomes one "-".
func fileName(name string) string {
	clean := &strings.Builder{}
	for _, c := range name {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.ContainsRune("-_.", c):
			clean.WriteRune(c)
		case !strings.HasSuffix(clean.String(), "-"):
			clean.WriteByte('-')
		}
	}
	if text := strings.Trim(clean.String(), "-."); text != "" {
		return text
	}
	return "unnamed"
}
