package attack

import (
	"net/http"
	"sync/atomic"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"weir/bench/plan"
	"weir/bench/record"
)

// An exchange sends requests over one kind of transport. It is safe for
// concurrent use.
type exchange interface {
	// do sends the request and reads its whole answer. It fills Sent, Done,
	// Status, Error, Read and Quota of the record; Status stays 0 when no answer
	// began. It never follows a redirect and never sends anything twice.
	do(r *request, key string, seq uint64, rec *record.Record)
}

// A hitter is what vegeta's workers send with: it sees no more of vegeta's hit
// than that there is one, and knows the plan.
type hitter struct {
	plan     *plan.Plan
	clock    clock
	counts   *counts
	keys     *plan.Chooser
	requests []request
	batcher  *batcher
	pacer    *pacer
	index    atomic.Uint64 // of the next request of a closed loop
	seq      atomic.Uint64 // of the next request that is sent
	reply    *http.Response
}

// target is vegeta's Targeter. The request that vegeta makes of it is never sent.
func (h *hitter) target(t *vegeta.Target) error {
	*t = vegeta.Target{Method: http.MethodGet, URL: "http://weir/"}
	return nil
}

// RoundTrip sends one request of the plan and records it.
func (h *hitter) RoundTrip(*http.Request) (*http.Response, error) {
	defer h.pacer.back()
	a, wanted := h.arrive()
	if !wanted {
		return h.reply, nil
	}
	r := &h.requests[a.index%uint64(len(h.requests))]
	rec := record.Record{
		Seq: h.seq.Add(1) - 1, Plan: h.plan.Name, Key: h.keys.Key(a.index), Target: r.label, Cost: h.plan.TokenCost(),
		Planned: a.planned, Written: int64(len(r.target.Body)), Quota: record.NoQuota,
	}
	h.counts.sent.Add(1)
	r.via.do(r, rec.Key, rec.Seq, &rec)
	if h.plan.Shape.Closed() {
		rec.Planned = rec.Sent
	} else if rec.Sent-rec.Planned > int64(late) {
		h.counts.late.Add(1)
	}
	if rec.Error == "" {
		rec.Outcome = record.OutcomeOf(rec.Status, h.plan.ThrottleStatus...)
	}
	h.batcher.add(&rec)
	h.counts.outcomes[rec.Outcome].Add(1)
	h.counts.done.Add(1)
	return h.reply, nil
}

// arrive says what to send, or that nothing is to be sent any more: vegeta may
// have waited with its tick for a worker until after the end of the attack, or
// until the arrival was too late.
func (h *hitter) arrive() (a arrival, wanted bool) {
	if h.plan.Shape.Closed() {
		if h.pacer.over() {
			return arrival{}, false
		}
		h.counts.planned.Add(1)
		return arrival{index: h.index.Add(1) - 1}, true
	}
	a = <-h.pacer.handed
	if h.pacer.tooLate(a.planned) {
		h.counts.dropped.Add(1)
		return a, false
	}
	return a, true
}
