package main

import (
	"fmt"
	"slices"
	"strings"

	"weir/bench/judge"
)

// markdown is the table for people, with nothing in it that differs between two
// runs but what was measured.
func (t *table) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "| limiter | promises | the bucket | admitted too many | throttled wrongly | Retry-After | headers | no answer |\n|---|---|---|---|---|---|---|---|\n")
	for i := range t.Rows {
		b.WriteString(t.Rows[i].line())
	}
	fmt.Fprintf(&b, "\nEach limiter got the same seven trials on keys never used before: `%s`, and for Retry-After `%s`.\n", fast, slow)
	b.WriteString(legend)
	for i := range t.Rows {
		for _, why := range t.Rows[i].Why {
			fmt.Fprintf(&b, "- %s: %s.\n", t.Rows[i].Name, why)
		}
	}
	fmt.Fprintf(&b, "\nMeasured on %s, %d cores, %s", t.Host.CPU, t.Host.Cores, t.Host.Go)
	if t.Store.Version != "" {
		fmt.Fprintf(&b, ", %s %s", t.Store.Kind, t.Store.Version)
	}
	b.WriteString(". Repeat it with `make league`, or for one limiter `make league ARGS='-only throttled'`.\n")
	for _, note := range t.Notes {
		fmt.Fprintf(&b, "%s\n", note)
	}
	fmt.Fprintf(&b, "\n## Trial by trial\n\n| limiter |")
	for _, trial := range trials {
		fmt.Fprintf(&b, " %s |", trial.name)
	}
	fmt.Fprintf(&b, "\n|---|%s\n", strings.Repeat("---|", len(trials)))
	for i := range t.Rows {
		t.Rows[i].details(&b)
	}
	b.WriteString("\n+n: admitted n tokens more than the bucket could; −n: throttled n requests that it had tokens for.\n\n")
	for _, trial := range trials {
		fmt.Fprintf(&b, "- %s: %s\n", trial.name, trial.question)
	}
	return b.String()
}

const legend = `
- "The bucket": is what was admitted and throttled that of a token bucket with this limit? A limiter marked *windows* never
  promised one: it counts requests in fixed windows of the same rate, and is judged as a bucket to show what that costs. In brackets
  is whether it kept what windows can promise, at most twice the capacity around an edge.
- "Admitted too many": tokens beyond capacity + rate·t in the worst window of any trial, as proved from outside; in brackets that trial.
- "Throttled wrongly": requests that were throttled although the bucket had a token whenever they can have been decided.
- "Retry-After": how many of the promises were too short for a bucket, or given to a client that waited and was throttled again; how
  often waiting as told was enough; how often it was at least a second longer than a bucket needs.
- "Headers": what answers said is left or due, held against the bucket.
- "No answer": requests answered with neither success nor 429.
`

func (r *row) line() string {
	name := fmt.Sprintf("%s %s (%s)", r.Name, r.Version, r.State)
	if r.LeftOut != "" {
		return fmt.Sprintf("| %s | left out: %s | | | | | | |\n", r.Name, r.LeftOut)
	}
	promise := "`" + r.Promise + "`"
	if r.Windows {
		promise += ", *windows*"
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s | %d |\n",
		name, promise, r.bucket(), r.excess(), r.wronged(), r.retryAfter(), r.headers(), r.failed())
}

// bucket is the worst verdict of the trials, Retry-After and headers aside.
func (r *row) bucket() string {
	text := judge.Holds
	windows := "hold"
	for _, t := range r.Findings {
		switch verdict := t.bucket(); {
		case verdict == judge.Broken:
			text = "**broken**"
		case verdict == judge.Inconclusive && text == judge.Holds:
			text = verdict
		}
		if t.AsWindows != nil && t.AsWindows.OverAdmission.Verdict == judge.Broken {
			windows = "**broken**"
		}
	}
	if r.Windows {
		text += " (windows: " + windows + ")"
	}
	return text
}

// bucket is the verdict on what was admitted and throttled.
func (t *trial) bucket() string {
	v := t.Verdict
	switch {
	case v.OverAdmission.Verdict == judge.Broken, v.Throttling.Verdict == judge.Broken:
		return judge.Broken
	case v.Verdict == judge.Inconclusive:
		return judge.Inconclusive
	}
	return judge.Holds
}

func (r *row) overAdmitted() bool {
	return slices.ContainsFunc(r.Findings, func(t *trial) bool { return t.Verdict.OverAdmission.Verdict == judge.Broken })
}

// excess is the worst over-admission: tokens too many, of how many allowed.
func (r *row) excess() string {
	worst, where, bound := 0.0, "", 0.0
	for _, t := range r.Findings {
		if over := &t.Verdict.OverAdmission; over.Verdict == judge.Broken && over.ExcessTokens > worst {
			worst, where, bound = over.ExcessTokens, t.Name, over.Bound
		}
	}
	if worst == 0 {
		return "0"
	}
	return fmt.Sprintf("%.3g of %.4g, +%.0f %% (%s)", worst, bound, 100*worst/bound, where)
}

func (r *row) wronged() string {
	count, throttled := int64(0), int64(0)
	for _, t := range r.Findings {
		count += t.Verdict.Throttling.Count
		throttled += t.Verdict.Requests.Throttled
	}
	if count == 0 {
		return "0"
	}
	return fmt.Sprintf("%d of %d", count, throttled)
}

func (r *row) retryAfter() string {
	var sum judge.RetryAfter
	for _, t := range r.Findings {
		v := &t.Verdict.RetryAfter
		sum.Promises += v.Promises
		sum.TooEarly += v.TooEarly
		sum.InVain += v.InVain
		sum.Kept += v.Kept
		sum.TooLate += v.TooLate
	}
	switch {
	case strings.Contains(r.Sample, "."):
		return fmt.Sprintf("HTTP cannot read `%s`: not whole seconds", r.Sample)
	case sum.Promises > 0:
		return fmt.Sprintf("of %d promises %d too short, %d in vain; %d kept, %d late by 1 s or more", sum.Promises, sum.TooEarly, sum.InVain, sum.Kept, sum.TooLate)
	case r.Sample != "":
		return fmt.Sprintf("HTTP cannot read `%s`: no date of its form", r.Sample)
	}
	return "none sent"
}

// headers is how many answers said what cannot be.
func (r *row) headers() string {
	answers, count := int64(0), int64(0)
	for _, t := range r.Findings {
		answers += t.Verdict.Headers.Answers
		count += t.Verdict.Headers.Count
	}
	switch {
	case answers == 0:
		return "none sent"
	case count == 0:
		return "agree"
	}
	return fmt.Sprintf("%d contradict", count)
}

func (r *row) failed() int64 {
	failed := int64(0)
	for _, t := range r.Findings {
		failed += t.Verdict.Requests.Failed
	}
	return failed
}

// details is a line with a cell for each trial.
func (r *row) details(b *strings.Builder) {
	if r.LeftOut != "" {
		return
	}
	fmt.Fprintf(b, "| %s |", r.Name)
	for _, trial := range trials {
		for _, t := range r.Findings {
			if t.Name == trial.name {
				fmt.Fprintf(b, " %s |", t.cell())
			}
		}
	}
	b.WriteByte('\n')
}

func (t *trial) cell() string {
	v, text := t.Verdict, t.bucket()
	if v.OverAdmission.Verdict == judge.Broken {
		text += fmt.Sprintf(" +%.3g", v.OverAdmission.ExcessTokens)
	}
	if v.Throttling.Count > 0 {
		text += fmt.Sprintf(" −%d", v.Throttling.Count)
	}
	return text
}
