package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"weir/api/limit"
	"weir/bench/judge"
)

// A Witness is the window in which most was admitted too much.
type Witness struct {
	Key      string  `json:"key"`
	Seconds  float64 `json:"seconds"`
	Tokens   float64 `json:"admitted_tokens"`
	Bound    float64 `json:"bound_tokens"`
	Excess   float64 `json:"excess_tokens"`
	Clock    string  `json:"clock"`           // whose time the window is in: "client" or "limiter"
	At       Column  `json:"at_s"`            // of each admitted request, seconds after the window began
	Admitted Column  `json:"admitted_so_far"` // tokens
	Allowed  Column  `json:"allowed_so_far"`  // tokens
}

// newWitness draws the window that a broken verdict shows; nil when it shows
// none. A request counts at the instant it was decided, where the limiter said
// when, and otherwise when its answer was whole. Where the judge thinned the
// requests, each stands for several.
func newWitness(v *judge.Verdict, l *limit.Limit) *Witness {
	over := &v.OverAdmission
	if over.Verdict != judge.Broken || over.Window == nil || l == nil || len(over.Witness) == 0 {
		return nil
	}
	w := &Witness{
		Key: over.Key, Seconds: over.Window.Seconds, Tokens: float64(over.Tokens),
		Bound: over.Bound, Excess: over.ExcessTokens, Clock: over.Clock,
	}
	instant := func(r judge.Witness) int64 {
		if over.Clock == "limiter" && r.DecidedNS != 0 {
			return r.DecidedNS
		}
		return r.DoneNS
	}
	requests := slices.Clone(over.Witness)
	slices.SortStableFunc(requests, func(a, b judge.Witness) int { return cmp.Compare(instant(a), instant(b)) })
	shown := int64(0)
	for _, r := range requests {
		shown += r.Cost
	}
	scale := float64(over.Tokens) / float64(max(shown, 1))
	total := 0.0
	for _, r := range requests {
		at := min(max(float64(instant(r)-over.Window.FromNS)/1e9, 0), w.Seconds)
		total += float64(r.Cost) * scale
		w.At = append(w.At, at)
		w.Admitted = append(w.Admitted, total)
		w.Allowed = append(w.Allowed, over.Bound-l.Rate.PerSecond()*(w.Seconds-at))
	}
	return w
}

// evidenceTable says what each check of the judge found, the header first;
// empty for a plan that was not judged.
func (p *Plan) evidenceTable() [][]string {
	v := &p.Verdict
	if v.Verdict == NotJudged || v.OverAdmission.Verdict == "" {
		return nil
	}
	rows := [][]string{{"check", "verdict", "finding"}}
	add := func(check, verdict, finding string) { rows = append(rows, []string{check, verdict, finding}) }

	over := &v.OverAdmission
	finding := "nothing was admitted"
	if over.Window != nil {
		finding = fmt.Sprintf("%s admitted in %s at the fullest, where %s are allowed",
			plural(over.Tokens, "token"), duration(time.Duration(over.Window.Seconds*1e9)), number(over.Bound))
	}
	add("Over-admission", over.Verdict, finding)
	add("Wrongful throttling", v.Throttling.Verdict, fmt.Sprintf("%s of %s throttled requests had their tokens there",
		count(v.Throttling.Count), count(v.Requests.Throttled)))
	r := &v.RetryAfter
	finding = "no answer promised a wait"
	if r.Promises > 0 {
		finding = fmt.Sprintf("%s promised: %s too early, %s in vain, %s kept, %s over a second too late",
			plural(r.Promises, "wait"), count(r.TooEarly), count(r.InVain), count(r.Kept), count(r.TooLate))
		parts := []string{finding}
		for _, b := range r.Errors {
			parts = append(parts, fmt.Sprintf("%s %s", count(b.Count), b))
		}
		finding = strings.Join(parts, "; ")
	}
	add("Retry-After", r.Verdict, finding)
	finding = "no answer said anything of a limit"
	if v.Headers.Answers > 0 {
		finding = fmt.Sprintf("%s in %s", plural(v.Headers.Count, "contradiction"), plural(v.Headers.Answers, "answer"))
		parts := []string{finding}
		for _, reset := range v.Headers.Resets {
			if len(reset.Fits) > 0 && reset.Answers > 0 {
				parts = append(parts, fmt.Sprintf("%s reads as %s", reset.Header, reset.Fits[0]))
			}
		}
		finding = strings.Join(parts, "; ")
	}
	add("Headers", v.Headers.Verdict, finding)
	if v.Isolation.Keys > 1 {
		finding = fmt.Sprintf("%s of %s wronged", count(v.Isolation.KeysWronged), plural(v.Isolation.Keys, "key"))
		if v.Isolation.Jain > 0 {
			finding += fmt.Sprintf("; Jain index %s over %s of like demand", number(v.Isolation.Jain), plural(v.Isolation.Compared, "key"))
		}
		add("Isolation", v.Isolation.Verdict, finding)
	}
	add("Generator", v.Generator.Verdict, fmt.Sprintf("%s of %s planned were sent, %s over 1 ms late, at most %s",
		count(v.Generator.Sent), count(v.Generator.Planned), count(v.Generator.Late), duration(v.Generator.MostLag)))
	return rows
}

// accusations are single requests that prove a fault, in words, at most a few
// of each kind.
func (p *Plan) accusations() []string {
	v := &p.Verdict
	since := func(ns int64) string { return duration(time.Duration(ns - p.started)) }
	lines := []string{}
	for _, t := range first(v.Throttling.Witnesses) {
		lines = append(lines, fmt.Sprintf("%s, sent %s into the plan, was throttled although at least %s of its %s were there",
			requestOf(t.Key), since(t.SentNS), number(t.TokensAtLeast), plural(t.Cost, "token")))
	}
	for _, b := range first(v.RetryAfter.Witnesses) {
		lines = append(lines, fmt.Sprintf("%s, sent %s into the plan, was told to wait %s s: %s",
			requestOf(b.Key), since(b.SentNS), number(b.RetryAfter), b.Why))
	}
	for _, c := range first(v.Headers.Contradictions) {
		lines = append(lines, fmt.Sprintf("%s, sent %s into the plan, was answered %s: %s, which %s (%s)",
			requestOf(c.Key), since(c.SentNS), c.Header, number(c.Said), c.Why, number(c.Limit)))
	}
	return lines
}

// first leaves a few examples: enough to see what is meant.
func first[T any](examples []T) []T { return examples[:min(len(examples), 3)] }

func requestOf(key string) string {
	if key == "" {
		return "A request"
	}
	return "A request of key " + key
}
