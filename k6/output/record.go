package output

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"go.k6.io/k6/v2/lib/netext/httpext"
	"go.k6.io/k6/v2/metrics"

	"weir/bench/record"
)

// Names by which a script tells more of a request than k6 does.
const (
	requestField = "weir_request" // metadata: the request's number, e.g. "3/17"
	answerField  = "weir_answer"  // metadata of a later sample: the answer's headers as a JSON object
	slotTag      = "weir_slot"    // the place among requests with one number, e.g. "5"
	offTag       = "weir"         // "off": not recorded
	keyTag       = "key"
	costTag      = "cost"
)

// patience is how long a numbered request waits for its answer's headers before
// it is written without: longer than any batch of requests should take.
const patience = 30 * time.Second

// A joiner makes records of k6's samples. A numbered request waits here until
// its answer is told; there are at most as many as k6 has in flight.
type joiner struct {
	plan    string
	epoch   time.Time // all instants are counted from it, by the monotonic clock
	seq     uint64
	ready   []record.Record
	waiting map[string]waiting
}

type waiting struct {
	record record.Record
	since  time.Time
}

func newJoiner(plan string, epoch time.Time) *joiner {
	return &joiner{plan: plan, epoch: epoch, waiting: map[string]waiting{}}
}

// add takes one container of samples, whatever is in it.
func (j *joiner) add(container metrics.SampleContainer) {
	switch c := container.(type) {
	case *httpext.Trail:
		j.addTrail(c)
	case metrics.Sample:
		if answer, told := c.Metadata[answerField]; told {
			j.addAnswer(c.Metadata[requestField], answer)
		}
	}
}

func (j *joiner) addTrail(t *httpext.Trail) {
	if off, _ := t.Tags.Get(offTag); off == "off" {
		return
	}
	r := j.recordOf(t)
	j.seq++
	number, numbered := t.Metadata[requestField]
	if !numbered {
		j.ready = append(j.ready, r)
		return
	}
	if slot, ok := t.Tags.Get(slotTag); ok {
		number += "/" + slot
	}
	j.waiting[number] = waiting{record: r, since: t.EndTime}
}

func (j *joiner) addAnswer(number, answer string) {
	w, ok := j.waiting[number]
	if !ok {
		return
	}
	delete(j.waiting, number)
	var headers map[string]string
	if err := json.Unmarshal([]byte(answer), &headers); err == nil {
		header := func(name string) string { return headers[name] }
		w.record.Quota = record.ParseQuota(header, w.record.Done)
		w.record.Read, _ = strconv.ParseInt(header("Content-Length"), 10, 64) // 0 when absent: k6 counts no body
	}
	j.ready = append(j.ready, w.record)
}

// take returns the records that are ready, and those that waited too long.
func (j *joiner) take(now time.Time) []record.Record {
	for number, w := range j.waiting {
		if now.Sub(w.since) > patience {
			delete(j.waiting, number)
			j.ready = append(j.ready, w.record)
		}
	}
	ready := j.ready
	j.ready = nil
	return ready
}

// rest returns all records that are left.
func (j *joiner) rest() []record.Record {
	for _, w := range j.waiting {
		j.ready = append(j.ready, w.record)
	}
	clear(j.waiting)
	return j.take(j.epoch)
}

func (j *joiner) recordOf(t *httpext.Trail) record.Record {
	tag := func(name string) string {
		value, _ := t.Tags.Get(name)
		return value
	}
	done := j.epoch.UnixNano() + int64(t.EndTime.Sub(j.epoch))
	sent := done - int64(max(0, t.Duration))
	status, _ := strconv.Atoi(tag("status")) // 0 when there was no answer
	cost, err := strconv.ParseInt(tag(costTag), 10, 64)
	if err != nil {
		cost = 1
	}
	r := record.Record{
		Seq: j.seq, Plan: j.plan, Key: tag(keyTag), Target: tag("method") + " " + tag("url"), Cost: cost,
		Planned: sent, Sent: sent, Done: done,
		Status: status, Outcome: record.OutcomeOf(status), Quota: record.NoQuota,
	}
	if r.Outcome == record.Failed {
		r.Error = reason(status, tag("error"))
	}
	return r
}

// address is what differs from one request to the next in the errors of package
// net: "read tcp 127.0.0.1:41234->127.0.0.1:8000: use of closed connection".
var address = regexp.MustCompile(` ?(->)?(\[[0-9a-fA-F:.%\w]+\]|\d+\.\d+\.\d+\.\d+):\d+`)

func reason(status int, text string) string {
	if text != "" {
		return address.ReplaceAllString(text, "")
	}
	return fmt.Sprintf("%d %s", status, http.StatusText(status))
}
