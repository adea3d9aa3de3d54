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
	do(r *request, key, seq string, rec *record.Record)
}

// A hitter is what vegeta's workers send with: it sees only vegeta's number of
// the hit, and knows the plan.
type hitter struct {
	plan     *plan.Plan
	clock    clock
	counts   *counts
	keys     *plan.Chooser
	requests []request
	batcher  *batcher
	handed   chan arrival  // from the pacer; nil in a closed loop
	closed   atomic.Uint64 // index of the next request of a closed loop
	reply    *http.Response
}

// target is vegeta's Targeter. The request that vegeta makes of it is never sent.
func (h *hitter) target(t *vegeta.Target) error {
	*t = vegeta.Target{Method: http.MethodGet, URL: "http://weir/"}
	return nil
}

// RoundTrip sends one request of the plan and records it.
func (h *hitter) RoundTrip(hit *http.Request) (*http.Response, error) {
	a := h.arrive()
	r := &h.requests[a.index%uint64(len(h.requests))]
	seq := hit.Header[seqHeader][0]
	rec := record.Record{
		Seq: parseSeq(seq), Plan: h.plan.Name, Key: h.keys.Key(a.index), Target: r.label, Cost: h.plan.TokenCost(),
		Planned: a.planned, Written: int64(len(r.target.Body)), Quota: record.NoQuota,
	}
	h.counts.sent.Add(1)
	r.via.do(r, rec.Key, seq, &rec)
	if h.handed == nil {
		rec.Planned = rec.Sent
		h.counts.planned.Add(1)
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

func (h *hitter) arrive() arrival {
	if h.handed == nil {
		return arrival{index: h.closed.Add(1) - 1}
	}
	return <-h.handed
}
