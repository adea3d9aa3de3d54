package identify

import (
	"flag"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/api/limit"
	"weir/api/limit/limittest"
	"weir/bench/attack"
)

var gridFile = flag.String("grid", "", "run the whole grid, and write what came out to this file")

// A trial is one limiter to identify.
type trial struct {
	kind           string
	rate, capacity int64
	jitter         time.Duration
	blind          bool
}

func (c trial) String() string {
	clock := "limiter's clock"
	if c.blind {
		clock = "client's clock"
	}
	return fmt.Sprintf("%s %d/s,capacity=%d jitter %s %s", c.kind, c.rate, c.capacity, c.jitter, clock)
}

func (c trial) limit() limit.Limit {
	return limit.Limit{Capacity: c.capacity, Rate: limit.Rate{Tokens: c.rate, Seconds: 1}}
}

// identify identifies the trial's limiter in computed time.
func (c trial) identify(t testing.TB) *Answer {
	w := newWorld(t, c.kind, c.limit(), uint64(c.rate*1000+c.capacity), c.jitter, c.blind)
	address := Other{Name: "client address", Calls: []attack.Call{{Source: "127.0.1.1"}, {Source: "127.0.1.2"}, {Source: "127.0.1.3"}}}
	a, _, err := Run(t.Context(), w, Config{MaxRequests: 2000, MaxTime: time.Minute, Seed: 1, Others: []Other{address}})
	if err != nil {
		t.Errorf("%s: %v", c, err)
	}
	return a
}

// fault is what is wrong with an answer; "" where it is right.
func (c trial) fault(a *Answer) string {
	rate, capacity := float64(c.rate), float64(c.capacity)
	alike := c.capacity == 1 && c.kind == SlidingLog && a.Kind == TokenBucket // the same limiter
	switch {
	case a.Kind != c.kind && !alike:
		return "kind"
	case c.kind == None:
	case math.Abs(a.Rate-rate) > 0.02*rate:
		return "rate"
	case math.Abs(a.Capacity-capacity) > max(1, 0.02*capacity):
		return "capacity"
	}
	return ""
}

// Limiters that can be known within the time are known, whatever the kind.
func TestKinds(t *testing.T) {
	t.Parallel()
	for _, c := range []trial{
		{TokenBucket, 5, 20, 0, false},
		{TokenBucket, 5, 20, 50 * time.Millisecond, true},
		{TokenBucket, 50, 100, 10 * time.Millisecond, true},
		{TokenBucket, 500, 10, 10 * time.Millisecond, false},
		{TokenBucket, 1, 1, 10 * time.Millisecond, false},
		{FixedWindow, 5, 10, 10 * time.Millisecond, true},
		{FixedWindow, 50, 10, 10 * time.Millisecond, false},
		{SlidingLog, 5, 10, 10 * time.Millisecond, true},
		{SlidingLog, 50, 10, 50 * time.Millisecond, false},
		{SlidingCounter, 50, 10, 10 * time.Millisecond, false},
		{LeakyQueue, 50, 10, 10 * time.Millisecond, false},
		{Concurrency, 50, 10, 10 * time.Millisecond, false},
		{SeveralLimits, 50, 10, 10 * time.Millisecond, false},
		{None, 50, 10, 10 * time.Millisecond, true},
	} {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			a := c.identify(t)
			if fault := c.fault(a); fault != "" || !a.Conclusive() {
				t.Errorf("%s is wrong: %s", fault, a.Sentence)
			}
			if c.kind != None && (a.Key != "client address" || a.RequestsSpent > 2000) {
				t.Errorf("kept for %q after %d requests, want client address after at most 2000", a.Key, a.RequestsSpent)
			}
		})
	}
}

// What cannot be known within the time is not guessed.
func TestInconclusive(t *testing.T) {
	t.Parallel()
	for _, c := range []trial{
		{FixedWindow, 1, 100, 0, false},                     // a window of 100 s
		{SlidingLog, 1, 1000, 0, false},                     // of 1,000 s
		{TokenBucket, 5000, 1, 50 * time.Millisecond, true}, // full again long before an answer is back
	} {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			if a := c.identify(t); a.Conclusive() || len(a.Missing) == 0 || !strings.HasPrefix(a.Sentence, "inconclusive: ") {
				t.Errorf("%q, want inconclusive with what is missing", a.Sentence)
			}
		})
	}
}

// grid are all trials: every rate with every capacity, in turn with no, some and
// much jitter.
func grid() (all []trial) {
	jitters := []time.Duration{0, 10 * time.Millisecond, 50 * time.Millisecond}
	for _, k := range limittest.Kinds {
		n := 0
		for _, rate := range []int64{1, 5, 50, 500, 5000} {
			for _, capacity := range []int64{1, 10, 100, 1000} {
				for _, blind := range []bool{false, true} {
					all = append(all, trial{k.Name, rate, capacity, jitters[n%len(jitters)], blind})
				}
				n++
			}
		}
	}
	return all
}

// TestGrid measures how often the answer is right:
//
//	make identify-grid
//
// It does not fail: it writes what it found, wrong answers listed.
func TestGrid(t *testing.T) {
	if *gridFile == "" {
		t.Skip("takes minutes: go test ./bench/identify -run TestGrid -grid FILE")
	}
	all := grid()
	answers := make([]*Answer, len(all))
	var work sync.WaitGroup
	next := make(chan int)
	for range 2 {
		work.Go(func() {
			for i := range next {
				answers[i] = all[i].identify(t)
				t.Logf("%d of %d: %s: %s", i+1, len(all), all[i], answers[i].Sentence)
			}
		})
	}
	for i := range all {
		next <- i
	}
	close(next)
	work.Wait()
	if err := os.WriteFile(*gridFile, []byte(matrix(all, answers)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// matrix is the confusion matrix, and the list of wrong answers.
func matrix(all []trial, answers []*Answer) string {
	var text strings.Builder
	for _, blind := range []bool{false, true} {
		head := "with the limiter's decision times in the answers"
		if blind {
			head = "by the client's clock alone"
		}
		fmt.Fprintf(&text, "### %s\n\n| limiter | trials | right | wrong kind | wrong rate | wrong capacity | inconclusive | right of those answered |\n|---|--:|--:|--:|--:|--:|--:|--:|\n", head)
		confusion := map[[2]string]int{}
		var rows []string
		total := map[string]int{}
		for _, k := range limittest.Kinds {
			n := map[string]int{}
			for i, c := range all {
				if c.kind != k.Name || c.blind != blind {
					continue
				}
				outcome := "inconclusive"
				if answers[i].Conclusive() {
					outcome = c.fault(answers[i])
					confusion[[2]string{c.kind, answers[i].Kind}]++
				} else {
					confusion[[2]string{c.kind, outcome}]++
				}
				n[outcome]++
				n["all"]++
			}
			rows = append(rows, row(k.Name, n))
			for outcome, m := range n {
				total[outcome] += m
			}
		}
		text.WriteString(strings.Join(append(rows, row("all", total)), ""))
		text.WriteString("\n" + table(confusion) + "\n")
	}
	text.WriteString("### wrong answers\n\n")
	for i, c := range all {
		if fault := c.fault(answers[i]); fault != "" && answers[i].Conclusive() {
			fmt.Fprintf(&text, "- %s (%s): %s\n", c, fault, answers[i].Sentence)
		}
	}
	text.WriteString("\n### inconclusive\n\n")
	for i, c := range all {
		if !answers[i].Conclusive() {
			fmt.Fprintf(&text, "- %s: %s\n", c, strings.Join(answers[i].Missing, "; "))
		}
	}
	return text.String()
}

func row(name string, n map[string]int) string {
	answered := n["all"] - n["inconclusive"]
	share := "–"
	if answered > 0 {
		share = fmt.Sprintf("%.0f %%", 100*float64(n[""])/float64(answered))
	}
	return fmt.Sprintf("| %s | %d | %d | %d | %d | %d | %d | %s |\n", name, n["all"], n[""], n["kind"], n["rate"], n["capacity"], n["inconclusive"], share)
}

// table is who was taken for whom.
func table(confusion map[[2]string]int) string {
	var names []string
	for _, k := range limittest.Kinds {
		names = append(names, k.Name)
	}
	heads := append(slices.Clone(names), "inconclusive")
	var text strings.Builder
	text.WriteString("| is \\ told | " + strings.Join(heads, " | ") + " |\n|---|" + strings.Repeat("--:|", len(heads)) + "\n")
	for _, name := range names {
		text.WriteString("| " + name)
		for _, told := range heads {
			fmt.Fprintf(&text, " | %d", confusion[[2]string{name, told}])
		}
		text.WriteString(" |\n")
	}
	return text.String()
}

// Edges that no windows can have between them end the search.
func TestSieveEnds(t *testing.T) {
	t.Parallel()
	edges := []span{{0, 1}, {0.5, 1.5}, {100, 101}, {1e6, 1e6 + 1}}
	for _, w := range sieve(edges, 1e-3) {
		if w.window[0] > w.window[1] || w.window[0] < 1e-3 {
			t.Errorf("windows of %v, want an interval above 1 ms", w.window)
		}
	}
}
