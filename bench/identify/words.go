package identify

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// String is the belief in a few words.
func (b *belief) String() string {
	f := b.best()
	if b.none {
		return fmt.Sprintf("no limit so far, %d admitted", len(b.h.admits))
	}
	if !f.explains() {
		return "no kind explains all yet; nearest a " + f.kind
	}
	text := fmt.Sprintf("%s, %s–%s/s, capacity %s–%s", f.kind, number(f.rate[0]), number(f.rate[1]), number(f.capacity[0]), number(f.capacity[1]))
	if rivals := b.rivals(); len(rivals) > 0 {
		text += ", or a " + list(rivals)
	}
	return text
}

// sentence is the answer in one line.
func (a *Answer) sentence() string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	h := a.belief.h
	switch {
	case a.belief.none:
		add("%s found below %s/s: all %d requests were admitted", None, number(offered(h)), len(h.admits))
		return strings.Join(parts, " · ")
	case a.Kind == SeveralLimits:
		add("%s", a.Kind)
		add("%s/s, capacity %s, and %s/s, capacity %s", number(a.Rate), number(a.Capacity), number(a.Slower.Rate), number(a.Slower.Capacity))
	default:
		add("%s", a.Kind)
		add("%s/s (%s–%s)", fixed(a.Rate), fixed(a.RateInterval[0]), fixed(a.RateInterval[1]))
		add("capacity %s (%s–%s)", number(a.Capacity), number(a.CapacityInterval[0]), number(a.CapacityInterval[1]))
	}
	if a.Kind == FixedWindow {
		add("windows of %s", seconds(a.Window))
	}
	if a.Kind == Concurrency {
		add("each held %s", seconds(a.Window))
	}
	switch a.Key {
	case notTold:
	case everyone:
		add("one for %s", everyone)
	default:
		add("per %s", a.Key)
	}
	if a.ThrottledCharged == yes {
		add("throttled requests are charged")
	}
	add("%s", a.RetryAfter.words("Retry-After"))
	text := strings.Join(parts, " · ")
	if a.Verdict == Inconclusive {
		return "inconclusive: " + strings.Join(a.Missing, "; ") + " (believed: " + text + ")"
	}
	return text
}

// offered is the fastest rate at which requests were offered, over the last half of them.
func offered(h *history) float64 {
	n := len(h.answers)
	if n < 2 {
		return 0
	}
	last := h.answers[n/2:]
	first, end := math.Inf(1), 0.0
	for i := range last {
		first, end = min(first, last[i].sent), max(end, last[i].done)
	}
	return float64(len(last)) / max(end-first, 1e-6)
}

func number(x float64) string {
	if math.Abs(x) >= 1000 {
		return strconv.FormatFloat(math.Round(x), 'f', -1, 64)
	}
	return strconv.FormatFloat(x, 'g', 3, 64)
}

// fixed writes a rate with its sharpness to be seen: "5.00".
func fixed(x float64) string {
	switch {
	case x >= 1000:
		return strconv.FormatFloat(x, 'f', 0, 64)
	case x >= 100:
		return strconv.FormatFloat(x, 'f', 1, 64)
	case x >= 0.1:
		return strconv.FormatFloat(x, 'f', 2, 64)
	}
	return strconv.FormatFloat(x, 'g', 3, 64)
}

func seconds(x float64) string {
	switch {
	case x >= 0.9995:
		return number(x) + " s"
	case x >= 1e-3:
		return number(1e3*x) + " ms"
	}
	return number(1e6*x) + " µs"
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

// list is "a", "a and b", "a, b and c".
func list(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}
