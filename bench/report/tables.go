package report

// Tables of a plan, the header first; Markdown and HTML show the same ones.

func (p *Plan) outcomeTable() [][]string {
	rows := [][]string{{"outcome", "requests", "share", "median rate", "fastest", "p50", "p90", "p95", "p99", "p99.9", "slowest"}}
	for _, o := range p.Outcomes {
		q := o.Latency
		rate := "–"
		if o.Rate.Seconds > 0 {
			rate = perSecond(o.Rate.Median)
		}
		rows = append(rows, []string{
			o.Name, count(o.Count), share(o.Share), rate,
			q.text(q.Min, 1), q.text(q.P50, 0.5), q.text(q.P90, 0.9), q.text(q.P95, 0.95),
			q.text(q.P99, 0.99), q.text(q.P999, 0.999), q.text(q.Max, 1),
		})
	}
	return rows
}

func (p *Plan) keyTable() [][]string {
	rows := [][]string{{"key", "requests", "admitted", "throttled", "failed", "tokens/s", "tokens", "allowed"}}
	for _, k := range p.Keys {
		name, allowed := k.Name, "–"
		if name == "" {
			name = "(no key sent)"
		}
		if k.Rest {
			name = "all other keys"
		}
		if k.Allowed > 0 {
			allowed = number(k.Allowed)
		}
		rows = append(rows, []string{
			name, count(k.Requests), count(k.Admitted), count(k.Throttled), count(k.Failed),
			number(k.Rate), count(k.Tokens), allowed,
		})
	}
	return rows
}

func (p *Plan) targetTable() [][]string {
	rows := [][]string{{"target", "admitted", "throttled", "failed", "p50", "p90", "p99", "p99.9"}}
	for _, t := range p.Targets {
		q := t.Service
		rows = append(rows, []string{
			t.Name, count(t.Admitted), count(t.Throttled), count(t.Failed),
			q.text(q.P50, 0.5), q.text(q.P90, 0.9), q.text(q.P99, 0.99), q.text(q.P999, 0.999),
		})
	}
	return rows
}

func (p *Plan) errorTable() [][]string {
	rows := [][]string{{"what went wrong", "requests"}}
	for _, e := range p.Errors {
		rows = append(rows, []string{e.What, count(e.Count)})
	}
	return rows
}

func (p *Plan) waitTable() [][]string {
	rows := [][]string{{"Retry-After", "throttled"}}
	for _, w := range p.Waits {
		rows = append(rows, []string{number(w.Seconds) + " s", count(w.Count)})
	}
	if p.NoWait > 0 {
		rows = append(rows, []string{"none given", count(p.NoWait)})
	}
	return rows
}
