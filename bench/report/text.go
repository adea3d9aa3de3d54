package report

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// WriteText writes the summary as a table for a terminal.
func (r *Report) WriteText(w io.Writer) error {
	b := &strings.Builder{}
	fmt.Fprintf(b, "%s  %s\n", strings.ToUpper(r.Verdict), r.Sentence)
	for _, note := range r.notes() {
		fmt.Fprintf(b, "note  %s\n", note)
	}
	b.WriteByte('\n')
	if len(r.Plans) == 0 {
		b.WriteString("No plan was carried out in this run.\n")
	} else {
		writeTable(b, r.summaryTable())
	}
	for i := range r.Plans {
		p := &r.Plans[i]
		if p.Error != "" {
			fmt.Fprintf(b, "\n%s ended early: %s\n", p.Name, p.Error)
		}
		if line := p.redisLine(); line != "" {
			fmt.Fprintf(b, "\n%s: %s\n", p.Name, line)
		}
		for j, line := range p.slowerLines() {
			if j == 0 {
				b.WriteByte('\n')
			}
			fmt.Fprintf(b, "%s: %s\n", p.Name, line)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// summaryTable has one row for each plan, the header first.
func (r *Report) summaryTable() [][]string {
	rows := [][]string{{"plan", "verdict", "planned", "sent", "admitted", "throttled", "failed", "p50", "p99"}}
	for i := range r.Plans {
		p := &r.Plans[i]
		admitted := p.Outcomes[0].Latency
		rows = append(rows, []string{
			p.Name, p.Verdict.Verdict, count(p.Counts.Planned), count(p.Records),
			count(p.Outcomes[0].Count), count(p.Outcomes[1].Count), count(p.Outcomes[2].Count),
			admitted.text(admitted.P50, 0.5), admitted.text(admitted.P99, 0.99),
		})
	}
	return rows
}

const aboutQuantiles = "p50 and p99 are latencies of admitted requests, from the instant the plan wanted them until their answer was whole; – where there are too few to tell."

// writeTable aligns columns: the first two to the left, numbers to the right.
func writeTable(b *strings.Builder, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, text := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(text))
		}
	}
	for _, row := range rows {
		line := &strings.Builder{}
		for i, text := range row {
			space := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text))
			if i < 2 {
				line.WriteString(text + space + "  ")
				continue
			}
			line.WriteString(space + text + "  ")
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	b.WriteString(aboutQuantiles + "\n")
}

// notes are what a reader must know first.
func (r *Report) notes() []string {
	notes := []string{}
	if strings.Contains(r.Run.Store.Kind, "miniredis") {
		notes = append(notes, "Redis was weir's embedded miniredis, not a Redis server: decisions are as real, latencies are not.")
	}
	for _, note := range r.Run.Notes {
		if len(notes) == 0 || !strings.Contains(note, "miniredis") {
			notes = append(notes, note)
		}
	}
	switch {
	case r.Run.Interrupted:
		notes = append(notes, "The run was stopped before its plans were done; this is what was recorded by then.")
	case r.Run.Ended.IsZero():
		notes = append(notes, "The manifest has no end: the run is still going, or was killed.")
	}
	dropped := []string{}
	for i := range r.Plans {
		p := &r.Plans[i]
		if p.Counts.Dropped > 0 {
			dropped = append(dropped, fmt.Sprintf("%s %s of %s", p.Name, count(p.Counts.Dropped), count(p.Counts.Planned)))
		}
		for _, damage := range p.Damaged {
			notes = append(notes, p.Name+": "+damage)
		}
	}
	if len(dropped) > 0 {
		notes = append(notes, "Planned but never sent, because the generator was too late for them: "+strings.Join(dropped, "; ")+".")
	}
	return notes
}

// slowerLines say in words how much longer targets take than the last one.
func (p *Plan) slowerLines() []string {
	lines := []string{}
	for _, s := range p.Slower {
		lines = append(lines, fmt.Sprintf("%s takes %s %s than %s at %s (the middle half of %s lies between %s and %s)",
			s.Target, duration(max(s.Median, -s.Median)), longer(s), s.Than, percentile(s.Quantile),
			plural(int64(s.Steps), "step"), duration(s.Low), duration(s.High)))
	}
	return lines
}

// redisLine says what the plan cost Redis; "" where that is not known.
func (p *Plan) redisLine() string {
	cost := p.Redis
	if cost == nil {
		return ""
	}
	line := "Redis: " + plural(cost.Calls, "EVALSHA call")
	if cost.Calls == 0 {
		return line
	}
	line += fmt.Sprintf(", %s µs each by its own commandstats", number(cost.UsecPerCall))
	if answered := p.Outcomes[0].Count + p.Outcomes[1].Count; answered > 0 {
		line += fmt.Sprintf(", %s requests answered for each call", number(float64(answered)/float64(cost.Calls)))
	}
	return line
}

func longer(s Slower) string {
	if s.Median < 0 {
		return "less"
	}
	return "more"
}

// percentile names a quantile: 0.5 is "p50".
func percentile(q float64) string { return "p" + number(100*q) }

// facts are what ran and how to run it again, as name and value.
func (r *Report) facts() [][2]string {
	m := &r.Run
	facts := [][2]string{{"Run", r.Name}, {"Suite", m.Suite}}
	if !m.Started.IsZero() {
		facts = append(facts, [2]string{"Started", m.Started.UTC().Format("2 January 2006 15:04:05 UTC")})
		if !m.Ended.IsZero() {
			facts = append(facts, [2]string{"Took", duration(m.Ended.Sub(m.Started))})
		}
	}
	host := []string{}
	for _, part := range []string{m.Host.CPU, strings.Trim(m.Host.OS+"/"+m.Host.Arch, "/"), m.Host.Go} {
		if part != "" {
			host = append(host, part)
		}
	}
	if m.Host.Cores > 0 {
		host = append(host, plural(int64(m.Host.Cores), "core"))
	}
	store := strings.TrimSpace(m.Store.Kind + " " + m.Store.Version)
	if store == "" {
		store = "unknown to weir"
	}
	facts = append(facts, [2]string{"Commit", m.Commit}, [2]string{"Host", strings.Join(host, ", ")},
		[2]string{"Redis", store}, [2]string{"Seed", strconv.FormatInt(m.Seed, 10)}, [2]string{"Repeat with", m.Command})
	known := facts[:0]
	for _, fact := range facts {
		if fact[1] != "" {
			known = append(known, fact)
		}
	}
	return known
}
