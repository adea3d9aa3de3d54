package judge

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// The three verdicts.
const (
	Holds        = "holds"
	Broken       = "broken"
	Inconclusive = "inconclusive"
)

// The two modes.
const (
	Interval = "interval" // from what the client saw
	Sharp    = "sharp"    // also from the limiter's own decision times
)

// Why a header contradicts, or a promise is broken.
const (
	RemainingAbove    = "says more is left than can be"
	RemainingBelow    = "says less is left than must be"
	RemainingRises    = "rises faster than the rate since an earlier answer"
	DecidedBackwards  = "is before that of an answer received earlier"
	OtherLimit        = "speaks of another limit"
	ResetMeansNothing = "fits no usual meaning; nearest"
	ResetGoesBack     = "jumps back: an earlier answer announced a later instant; nearest"
	PromiseTooShort   = "the promised wait is too short"
	PromiseInVain     = "throttled again after the promised wait, with nobody else on the key"
)

// A Verdict is what the records prove about a limit, with the evidence.
type Verdict struct {
	Verdict  string `json:"verdict"`  // Holds, Broken or Inconclusive
	Sentence string `json:"sentence"` // for a person, e.g. "broken: key 10.0.0.7 was admitted 47 in 3.2 s; …"
	Plan     string `json:"plan"`     // the attack that was judged
	Limit    string `json:"limit"`    // the promise, e.g. "5/s,capacity=20"
	Mode     string `json:"mode"`     // Sharp when some key was replayed by decision times
	// Assumptions are what the proofs rest on beside the records.
	Assumptions []string `json:"assumptions"`
	Requests    Requests `json:"requests"`
	// LimitReached says that the load tested the ceiling: something was throttled,
	// or too much admitted.
	LimitReached bool `json:"limit_reached"`

	OverAdmission OverAdmission `json:"over_admission"`
	Throttling    Throttling    `json:"wrongful_throttling"`
	RetryAfter    RetryAfter    `json:"retry_after"`
	Headers       Headers       `json:"headers"`
	Isolation     Isolation     `json:"isolation"`
	Generator     Generator     `json:"generator"`

	Elapsed time.Duration `json:"elapsed_ns"` // what judging took
}

// Requests are counted by outcome.
type Requests struct {
	Offered   int64 `json:"offered"`
	Admitted  int64 `json:"admitted"`
	Throttled int64 `json:"throttled"`
	Failed    int64 `json:"failed"`
	Keys      int64 `json:"keys"`
	SharpKeys int64 `json:"sharp_keys"` // keys judged by decision times too
}

// OverAdmission is the fullest window of all keys: the proof, where it holds more
// than the limit allows, and the nearest miss where it does not.
type OverAdmission struct {
	Verdict string `json:"verdict"`
	// ExcessTokens is Tokens − Bound, 0 where that is negative; RoomTokens is
	// Bound − Tokens, 0 where that is. An over-admission of less than RoomTokens
	// would not have been seen.
	ExcessTokens float64 `json:"excess_tokens"`
	RoomTokens   float64 `json:"room_tokens"`
	Keys         int64   `json:"keys"` // keys with over-admission

	Key      string  `json:"key"`
	Window   *Window `json:"window"`   // nil when nothing was admitted
	Admitted int64   `json:"admitted"` // requests in the window
	Tokens   int64   `json:"tokens"`   // what they cost
	Bound    float64 `json:"bound"`    // tokens the limit allows there, all allowances included
	// Packed says that the requests in the window do not break the bound by their
	// number, but that no instants of decision between sent and done obey the limit;
	// the excess is by how much the fittest miss it.
	Packed bool `json:"packed"`

	Clock   string    `json:"clock"`   // whose time the window is in: "client" or "limiter"
	Witness []Witness `json:"witness"` // the requests in the window, evenly thinned to at most 1,000; only when broken
}

// A Window is a stretch of time, in nanoseconds since the Unix epoch.
type Window struct {
	FromNS  int64   `json:"from_ns"`
	ToNS    int64   `json:"to_ns"`
	Seconds float64 `json:"seconds"`
}

// A Witness is one admitted request of the window.
type Witness struct {
	SentNS    int64 `json:"sent_ns"`
	DoneNS    int64 `json:"done_ns"`
	DecidedNS int64 `json:"decided_ns,omitempty"` // by the limiter's clock, where it said
	Cost      int64 `json:"cost"`
}

// Throttling is about requests that were throttled although their tokens were
// there whenever they were decided.
type Throttling struct {
	Verdict   string          `json:"verdict"`
	Count     int64           `json:"count"`
	Keys      int64           `json:"keys"`
	Witnesses []WrongThrottle `json:"witnesses"` // at most 10
}

// A WrongThrottle is one such request.
type WrongThrottle struct {
	Key           string  `json:"key"`
	SentNS        int64   `json:"sent_ns"`
	DoneNS        int64   `json:"done_ns"`
	Cost          int64   `json:"cost"`
	TokensAtLeast float64 `json:"tokens_at_least"` // what the bucket held at every instant it can have been decided
}

// RetryAfter is about promised waits.
type RetryAfter struct {
	Verdict  string `json:"verdict"`
	Promises int64  `json:"promises"`  // throttled answers with a Retry-After
	Broken   int64  `json:"broken"`    // TooEarly + InVain
	TooEarly int64  `json:"too_early"` // promises shorter than the model needs
	InVain   int64  `json:"in_vain"`   // waited as told, alone, and throttled again
	TooLate  int64  `json:"too_late"`  // a second or more longer than needed; no accusation
	Kept     int64  `json:"kept"`      // waited as told, and admitted
	// Errors is a histogram of promised − needed wait in seconds, as far as it is
	// proved: in sharp mode exact but for the time that answers took, else the least
	// error that must be there.
	Errors          []ErrorBucket   `json:"errors"`
	EarliestSeconds float64         `json:"earliest_seconds"` // 0 or less
	LatestSeconds   float64         `json:"latest_seconds"`   // 0 or more
	Witnesses       []BrokenPromise `json:"witnesses"`        // at most 10
}

// An ErrorBucket counts errors in [From, To) seconds; nil is open.
type ErrorBucket struct {
	From  *float64 `json:"from"`
	To    *float64 `json:"to"`
	Count int64    `json:"count"`
}

// A BrokenPromise is one wait that did not help.
type BrokenPromise struct {
	Key           string  `json:"key"`
	SentNS        int64   `json:"sent_ns"`
	RetryAfter    float64 `json:"retry_after"`    // s, as promised
	NeededSeconds float64 `json:"needed_seconds"` // at least; −1 no wait helps; 0 not known
	Why           string  `json:"why"`
}

// Headers is what answers said of the limit, held against it. Headers that speak
// of another limit are listed, but the limit is not broken by them, and what they
// say is left is then not judged.
type Headers struct {
	Verdict        string          `json:"verdict"` // Inconclusive when there are none
	Answers        int64           `json:"answers"` // that carried any
	Count          int64           `json:"count"`   // of all contradictions
	OtherLimit     bool            `json:"other_limit"`
	Resets         []Reset         `json:"resets"`
	Contradictions []Contradiction `json:"contradictions"` // at most 10 of each kind
}

// A Reset is what the resets that answers told can mean.
type Reset struct {
	Header  string   `json:"header"`
	Answers int64    `json:"answers"` // that carried it
	Fits    []string `json:"fits"`    // the usual meanings that agree with all of them; none is a contradiction
}

// A Contradiction is one header of one answer that cannot be true.
type Contradiction struct {
	Key    string  `json:"key"`
	SentNS int64   `json:"sent_ns"`
	Header string  `json:"header"`
	Said   float64 `json:"said"`
	Limit  float64 `json:"limit"` // the most, or least, it could have said
	Why    string  `json:"why"`
}

// Isolation is about keys beside each other. Each is judged alone: that the load
// of one changed another shows as wrongful throttling of the other.
type Isolation struct {
	Verdict     string  `json:"verdict"` // Inconclusive with fewer than two keys
	Keys        int64   `json:"keys"`
	KeysWronged int64   `json:"keys_wronged"`  // keys with a wrongful throttling
	Compared    int64   `json:"keys_compared"` // keys with a demand within 10 % of the median
	Jain        float64 `json:"jain"`          // over their admitted tokens: 1 equal, 1/n one got everything; 0 unknown
	LeastTokens int64   `json:"least_tokens"`  // admitted, of the compared
	MostTokens  int64   `json:"most_tokens"`
}

// Generator is whether the planned load was offered.
type Generator struct {
	Verdict string        `json:"verdict"` // Holds, or Inconclusive when 1 % or more was not sent
	Counted bool          `json:"counted"` // the counts are the generator's own
	Planned int64         `json:"planned"`
	Sent    int64         `json:"sent"`
	Dropped int64         `json:"dropped"`
	Late    int64         `json:"late"` // sent more than 1 ms after planned
	MostLag time.Duration `json:"most_lag_ns"`
}

const mostWitnesses = 1000

// verdict weighs the evidence.
func (t *trial) verdict(lag *lagNotes) *Verdict {
	v := &Verdict{
		Plan: t.opt.Plan, Limit: t.opt.Limit.String(), Mode: Interval,
		Requests: t.offered, Throttling: t.throttles, RetryAfter: t.retry.report(),
		Headers: t.headers, Generator: lag.report(t.opt.Counts), OverAdmission: t.overReport(),
	}
	v.Requests.Keys, v.Requests.SharpKeys = t.keys, t.sharp
	if t.sharp > 0 {
		v.Mode = Sharp
	}
	v.Isolation = t.fair.report(&v.Throttling)
	v.LimitReached = t.offered.Throttled > 0 || t.keysOver > 0
	v.Throttling.Verdict = brokenIf(v.Throttling.Count > 0, t.offered.Throttled > 0)
	v.RetryAfter.Verdict = brokenIf(v.RetryAfter.Broken > 0, v.RetryAfter.Promises > 0)
	t.headerReport(&v.Headers)
	v.Assumptions = t.assumptions()
	v.Verdict, v.Sentence = t.conclude(v)
	v.noNulls()
	return v
}

// headerReport adds to what was found in histories what needs none. Resets that fit
// nothing break the limit; that a header speaks of another one does not.
func (t *trial) headerReport(h *Headers) {
	for _, r := range t.resets {
		reset, n, lies := r.report()
		h.Resets = append(h.Resets, reset)
		h.Count += n
		h.Contradictions = append(h.Contradictions, lies...)
	}
	h.Answers, h.OtherLimit = t.notes.answers, t.notes.other || t.notes.otherPolicy
	h.Verdict = brokenIf(h.Count > 0, h.Answers > 0 && !h.OtherLimit)
	h.Count += t.notes.count
	h.Contradictions = append(h.Contradictions, t.notes.examples...)
}

// brokenIf is the verdict of one check: broken when something is proved, and
// otherwise holds only when there was something to prove it from.
func brokenIf(broken, tested bool) string {
	switch {
	case broken:
		return Broken
	case tested:
		return Holds
	}
	return Inconclusive
}

// noNulls makes empty lists of absent ones, for readers of the JSON.
func (v *Verdict) noNulls() {
	v.OverAdmission.Witness = append([]Witness{}, v.OverAdmission.Witness...)
	v.Throttling.Witnesses = append([]WrongThrottle{}, v.Throttling.Witnesses...)
	v.RetryAfter.Witnesses = append([]BrokenPromise{}, v.RetryAfter.Witnesses...)
	v.Headers.Contradictions = append([]Contradiction{}, v.Headers.Contradictions...)
	v.Headers.Resets = append([]Reset{}, v.Headers.Resets...)
}

func (t *trial) overReport() OverAdmission {
	w := t.worst
	if w == nil {
		return OverAdmission{Verdict: Inconclusive}
	}
	excess := w.excessTokens()
	out := OverAdmission{
		Verdict: brokenIf(t.keysOver > 0, t.offered.Throttled > 0), Keys: t.keysOver, Key: t.worstKey,
		ExcessTokens: max(excess, 0), RoomTokens: max(-excess, 0),
		Window:   &Window{FromNS: w.from, ToNS: w.to, Seconds: float64(w.to-w.from) / 1e9},
		Admitted: w.count, Tokens: w.tokens, Bound: float64(w.tokens) - excess, Clock: "client", Packed: w.packed,
	}
	if w.sharp {
		out.Clock = "limiter"
	}
	step := max(1, (len(w.inside)+mostWitnesses-1)/mostWitnesses)
	for i := 0; i < len(w.inside); i += step {
		out.Witness = append(out.Witness, t.cols.witness(w.inside[i]))
	}
	return out
}

func (c *columns) witness(row int32) Witness {
	w := Witness{SentNS: c.sent[row], DoneNS: c.done[row], Cost: c.cost[row]}
	if c.decided != nil {
		w.DecidedNS = c.decided[row] * 1000
	}
	return w
}

func (t *trial) assumptions() []string {
	start := "the level of a bucket before its first record is not known: anything from empty to full"
	if t.opt.Fresh {
		start = "every bucket was full before its first record"
	}
	whole := "the records hold all requests of each key, and each reached the limiter at most once"
	if t.opt.Incomplete {
		whole = "requests may be missing from the records: nothing was proved that a missing one could explain"
	}
	list := []string{
		start, whole,
		"a failed request may have been charged or not, at any time since it was sent",
	}
	if len(t.cols.names) == 1 && t.cols.names[0] == "" && !t.opt.Planned {
		list = append(list, "all requests came from one client, as the records name none (a key header or key query tells them apart)")
	}
	if tick := t.opt.tick(); tick > 0 {
		list = append(list, fmt.Sprintf("the limiter's clock stands still for at most %v", time.Duration(tick)))
	}
	if drift := t.opt.drift(); drift > 0 {
		list = append(list, fmt.Sprintf("the limiter's clock and ours differ by at most %d ppm in speed", drift))
	}
	if t.opt.Granularity > 0 {
		list = append(list, fmt.Sprintf("recorded instants are right to within %v", t.opt.Granularity))
	}
	if t.sharp > 0 {
		list = append(list, "decision times are the whole microseconds that the limiter itself reckoned with")
	}
	return list
}

// conclude gives the verdict and its sentence.
func (t *trial) conclude(v *Verdict) (verdict, sentence string) {
	if accusations := t.accuse(v); len(accusations) > 0 {
		return Broken, "broken: " + strings.Join(accusations, "; also ") + v.Headers.aside()
	}
	if reason := t.doubt(v); reason != "" {
		return Inconclusive, "inconclusive: " + reason
	}
	r, aside := v.Requests, v.Headers.aside()
	if !v.LimitReached {
		return Holds, fmt.Sprintf("holds below the limit: all %s requests of this load, which stays within %s, were admitted; it does not test the ceiling",
			number(r.Admitted), v.Limit) + aside
	}
	return Holds, fmt.Sprintf("holds: %s admitted and %s throttled agree with %s; the fullest window came within %s of its bound",
		number(r.Admitted), number(r.Throttled), v.Limit, tokens(v.OverAdmission.RoomTokens)) + aside
}

// aside says that the API speaks of another limit than it is held to, "" when it
// does not.
func (h *Headers) aside() string {
	for _, c := range h.Contradictions {
		if c.Why == OtherLimit {
			return fmt.Sprintf("; but headers speak of another limit (%s is %s, not %s)", c.Header, figure(c.Said), figure(c.Limit))
		}
	}
	return ""
}

// accuse lists what is proved, worst first.
func (t *trial) accuse(v *Verdict) (list []string) {
	if over := &v.OverAdmission; over.Verdict == Broken {
		allowed := int64(math.Floor(over.Bound))
		allows := "allows at most"
		if over.Packed {
			allows = "allows, when each was decided between sent and done, at most"
		}
		what := number(over.Admitted)
		if over.Tokens != over.Admitted {
			what = fmt.Sprintf("%s tokens (%s requests)", number(over.Tokens), what)
		}
		list = append(list, fmt.Sprintf("%s was admitted %s in %s; the limit %s %s; %s too many",
			named(over.Key), what, seconds(over.Window.Seconds), allows, number(allowed), number(over.Tokens-allowed)))
	}
	if w := &v.Throttling; w.Count > 0 {
		first := w.Witnesses[0]
		list = append(list, fmt.Sprintf("%s throttled although the tokens were there (%s held at least %.2f when one of cost %d was throttled)",
			times(w.Count, "request was", "requests were"), named(first.Key), first.TokensAtLeast, first.Cost))
	}
	if r := &v.RetryAfter; r.InVain > 0 {
		list = append(list, times(r.InVain, "request was throttled", "requests were throttled")+
			" again after waiting as Retry-After said, alone on the key")
	} else if r.TooEarly > 0 {
		list = append(list, fmt.Sprintf("Retry-After was too short %s of %s (by up to %s)",
			times(r.TooEarly, "time", "times"), number(r.Promises), seconds(-r.EarliestSeconds)))
	}
	if h := &v.Headers; h.Verdict == Broken {
		first := h.Contradictions[0]
		list = append(list, fmt.Sprintf("headers contradict the limit %s (%s %s: %s where %s is the limit)",
			times(h.Count, "time", "times"), first.Header, first.Why, figure(first.Said), figure(first.Limit)))
	}
	return list
}

// doubt is why nothing can be concluded, "" when something can.
func (t *trial) doubt(v *Verdict) string {
	r, over := v.Requests, &v.OverAdmission
	answered := r.Admitted + r.Throttled
	switch {
	case r.Offered == 0:
		return "there are no records"
	case t.tooLarge != nil:
		return t.tooLarge.Error()
	case answered == 0:
		return fmt.Sprintf("all %s requests failed, none was answered by the limiter (if their status is how this API throttles, name it as a throttle status)", number(r.Failed))
	case r.Failed > answered:
		return fmt.Sprintf("%s of %s requests failed, and whether they were charged is unknown (if their status is how this API throttles, name it as a throttle status)",
			number(r.Failed), number(r.Offered))
	case r.Throttled > 0 && r.Admitted == 0:
		return "nothing was admitted, so the bucket may have been empty all along"
	case r.Throttled > 0 && 2*float64(over.Tokens) < over.Bound:
		return fmt.Sprintf("requests were throttled, yet the fullest window took %s of the %.6g tokens it may: the records do not show that the limit was reached",
			number(over.Tokens), over.Bound)
	case r.Throttled > 0:
		return ""
	case v.Generator.Verdict != Holds:
		return fmt.Sprintf("the generator sent %s of %s planned requests and the limit was never reached", number(v.Generator.Sent), number(v.Generator.Planned))
	case t.demanded:
		return "nothing was throttled; the load passed the limit by less than the time each request took can prove"
	case !t.opt.Planned:
		return fmt.Sprintf("all %s answered requests were admitted, and the load never passed the limit; offer more than %s to test it", number(r.Admitted), v.Limit)
	}
	return ""
}

func named(key string) string {
	if key == "" {
		return "the one client"
	}
	if strings.ContainsFunc(key, func(r rune) bool { return !strconv.IsGraphic(r) }) {
		return "key " + strconv.Quote(key)
	}
	return "key " + key
}
