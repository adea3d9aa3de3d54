package judge

import (
	"encoding/json"
	"fmt"
	"io"

	"weir/bench/run"
)

// FileName is where a run keeps its verdicts.
const FileName = "verdict.json"

// Worst is the verdict that counts for all: the first broken one, else the first
// inconclusive one, else the first. There must be one.
func Worst(verdicts []*Verdict) *Verdict {
	worst, rank := verdicts[0], map[string]int{Broken: 2, Inconclusive: 1}
	for _, v := range verdicts {
		if rank[v.Verdict] > rank[worst.Verdict] {
			worst = v
		}
	}
	return worst
}

// Write keeps the verdicts of a run in its folder.
func Write(folder *run.Folder, verdicts []*Verdict) error {
	return folder.WriteFile(FileName, func(w io.Writer) error { return encode(w, verdicts) })
}

// WriteJSON writes the worst verdict as one object, with all of them in its field
// plans where there are several.
func WriteJSON(w io.Writer, verdicts []*Verdict) error {
	out := struct {
		*Verdict
		Plans []*Verdict `json:"plans,omitempty"`
	}{Verdict: Worst(verdicts)}
	if len(verdicts) > 1 {
		out.Plans = verdicts
	}
	return encode(w, out)
}

func encode(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

// A Line is one check as a row of a table.
type Line struct {
	Check   string
	Verdict string
	Text    string
}

// Evidence is what each check found, a line each, for a text or a page.
func (v *Verdict) Evidence() []Line {
	over, w, r, h, i, g := &v.OverAdmission, &v.Throttling, &v.RetryAfter, &v.Headers, &v.Isolation, &v.Generator
	lines := []Line{{"over-admission", over.Verdict, "nothing was admitted"}}
	if over.Window != nil {
		lines[0].Text = fmt.Sprintf("fullest window: %s of at most %.6g tokens in %s, %s, by the %s's clock",
			number(over.Tokens), over.Bound, seconds(over.Window.Seconds), named(over.Key), over.Clock)
	}
	lines = append(lines,
		Line{"wrongful throttling", w.Verdict, "nothing was throttled"},
		Line{"Retry-After", r.Verdict, "no answer promised a wait"},
		Line{"headers", h.Verdict, "no answer said anything of a limit"},
	)
	if v.Requests.Throttled > 0 {
		lines[1].Text = fmt.Sprintf("%s of %s throttled had their tokens there", number(w.Count), number(v.Requests.Throttled))
	}
	if r.Promises > 0 {
		lines[2].Text = fmt.Sprintf("%s promised; %s too short, %s in vain, %s kept, %s later than needed by 1 s or more",
			times(r.Promises, "wait", "waits"), number(r.TooEarly), number(r.InVain), number(r.Kept), number(r.TooLate))
	}
	if h.Answers > 0 {
		lines[3].Text = fmt.Sprintf("%s with quota headers, %s", times(h.Answers, "answer", "answers"), times(h.Count, "contradiction", "contradictions"))
	}
	if h.Count > 0 {
		first := h.Contradictions[0]
		lines[3].Text += fmt.Sprintf(": %s %s (%s, not %s)", first.Header, first.Why, figure(first.Said), figure(first.Limit))
	}
	for _, reset := range h.Resets {
		if len(reset.Fits) > 0 && reset.Answers > 0 {
			lines[3].Text += fmt.Sprintf("; %s reads as %s", reset.Header, reset.Fits[0])
		}
	}
	isolation := "one key"
	if i.Keys > 1 {
		isolation = fmt.Sprintf("%s keys, %s of them wronged; Jain index %.4f over %s keys of equal demand", number(i.Keys), number(i.KeysWronged), i.Jain, number(i.Compared))
	}
	generator := fmt.Sprintf("%s planned, %s sent, %s dropped", number(g.Planned), number(g.Sent), number(g.Dropped))
	if g.Late > 0 {
		generator += fmt.Sprintf(", %s over 1 ms late (at most %s)", number(g.Late), seconds(g.MostLag.Seconds()))
	}
	return append(lines, Line{"isolation", i.Verdict, isolation}, Line{"generator", g.Verdict, generator})
}

// String says how large the errors of a bucket are, in words.
func (b ErrorBucket) String() string {
	switch {
	case b.From == nil:
		return "more than " + seconds(-*b.To) + " too early"
	case b.To == nil:
		return "more than " + seconds(*b.From) + " too late"
	case *b.To == 0:
		return "up to " + seconds(-*b.From) + " too early"
	case *b.To < 0:
		return seconds(-*b.To) + " to " + seconds(-*b.From) + " too early"
	case *b.From == 0:
		return "right, or up to " + seconds(*b.To) + " late"
	case *b.To <= 1:
		return seconds(*b.From) + " to " + seconds(*b.To) + " late, as whole seconds are"
	}
	return seconds(*b.From) + " to " + seconds(*b.To) + " too late"
}
