package live

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// keptEvents are enough for a connection that is gone for half a minute.
	keptEvents = 256
	// sendWithin bounds how long a browser may leave what it is sent.
	sendWithin = 10 * time.Second
	// beatEvery keeps proxies from closing a quiet stream.
	beatEvery = 15 * time.Second
)

// A hub hands events to any number of browsers. It keeps the latest in a ring,
// from which each browser reads at its own pace: nobody waits for a slow one, and
// one that falls behind by more than the ring is told to ask for everything again.
type hub struct {
	epoch string // tells this server's events from those of one before it

	mu   sync.Mutex
	ring [keptEvents]event
	next uint64        // number of the next event, from 1
	wake chan struct{} // closed at the next event
	done chan struct{} // closed when the server ends
}

// An event is text as the stream carries it.
type event []byte

func newHub() *hub {
	return &hub{
		epoch: strconv.FormatInt(time.Now().UnixNano(), 36), next: 1,
		wake: make(chan struct{}), done: make(chan struct{}),
	}
}

// publish tells all browsers. The value is turned into JSON once.
func (h *hub) publish(name string, value any) {
	data, err := json.Marshal(value)
	if err != nil { // a value of ours that is no JSON is a mistake of ours
		panic(fmt.Sprintf("publish %s: %v", name, err))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ring[h.next%keptEvents] = fmt.Appendf(nil, "id: %s-%d\nevent: %s\ndata: %s\n\n", h.epoch, h.next, name, data)
	h.next++
	close(h.wake)
	h.wake = make(chan struct{})
}

// last is the id of the newest event.
func (h *hub) last() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return fmt.Sprintf("%s-%d", h.epoch, h.next-1)
}

// after returns the events that follow event n, and a channel that is closed when
// there are more. It reports false when some of them are not kept any more.
func (h *hub) after(n uint64) (events []event, next uint64, wake <-chan struct{}, whole bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n >= h.next || h.next-n-1 > keptEvents-1 {
		return nil, h.next - 1, h.wake, n == h.next-1
	}
	for i := n + 1; i < h.next; i++ {
		events = append(events, h.ring[i%keptEvents])
	}
	return events, h.next - 1, h.wake, true
}

func (h *hub) close() { close(h.done) }

// ServeHTTP is the stream of events after ?after=ID, or after the Last-Event-ID
// with which a browser reconnects.
func (h *hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("X-Accel-Buffering", "no") // nginx would hold events back
	control := http.NewResponseController(w)
	send := func(text []byte) bool {
		// A stream to a recorder in a test has no deadline, and needs none.
		_ = control.SetWriteDeadline(time.Now().Add(sendWithin))
		_, err := w.Write(text) //nolint:gosec // G705: an event stream, never read as HTML
		return err == nil && control.Flush() == nil
	}
	id := r.Header.Get("Last-Event-ID")
	if id == "" {
		id = r.URL.Query().Get("after")
	}
	epoch, number, _ := strings.Cut(id, "-")
	at, err := strconv.ParseUint(number, 10, 64)
	known := err == nil && epoch == h.epoch
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	if !send([]byte("retry: 1000\n\n")) {
		return
	}
	for {
		events, next, wake, whole := h.after(at)
		if !known || !whole {
			events = []event{fmt.Appendf(nil, "id: %s-%d\nevent: resync\ndata: {}\n\n", h.epoch, next)}
		}
		at, known = next, true
		for _, e := range events {
			if !send(e) {
				return
			}
		}
		select {
		case <-wake:
		case <-beat.C:
			if !send([]byte(": still here\n\n")) {
				return
			}
		case <-r.Context().Done():
			return
		case <-h.done:
			return
		}
	}
}
