package server

import (
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"weir/api/limit/guard"
)

// A Route is a limited path.
type Route struct {
	Path  string       // e.g. "/items"
	Cost  int64        // tokens one request takes, at least 1
	Guard *guard.Guard // decides
}

// limited is the middleware: it takes from the client's bucket, writes the
// headers, and calls next when the request is admitted.
type limited struct {
	route    Route
	promise  promise
	identity *Identity
	meter    *routeMeter
	log      *slog.Logger
	next     http.Handler
}

func (l *limited) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := l.identity.Key(r)
	started := time.Now()
	answer := l.route.Guard.Take(r.Context(), key, l.route.Cost)
	l.meter.observe(key, answer, started)
	if answer.Err != nil {
		l.log.Debug("no decision", "route", l.route.Path, "reason", answer.Err)
	}

	header := w.Header()
	switch {
	case answer.Source == guard.ByClosed || answer.Source == guard.Abandoned:
		after := max(1, retryAfter(answer.Decision))
		header[headerRetryAfter] = []string{strconv.FormatInt(after, 10)}
		refuse(w, http.StatusServiceUnavailable, "rate limiter unavailable", after)
	case answer.Allowed:
		l.promise.write(header, answer)
		l.next.ServeHTTP(w, r)
	default:
		l.promise.write(header, answer)
		refuse(w, http.StatusTooManyRequests, "rate limit exceeded", retryAfter(answer.Decision))
	}
}

// refuse writes {"detail":"rate limit exceeded","retry_after":1}, with no line
// end, as clients of the Python predecessor expect it. No cache may keep it
// (RFC 6585 §4).
func refuse(w http.ResponseWriter, status int, detail string, after int64) {
	body := make([]byte, 0, 64)
	body = append(body, `{"detail":"`...)
	body = append(body, detail...)
	body = append(body, `","retry_after":`...)
	body = strconv.AppendInt(body, after, 10)
	body = append(body, '}')
	header := w.Header()
	header["Content-Type"], header["Cache-Control"] = contentJSON, noStore
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone: nothing to do about it
}

// items is what the limited routes and /free serve: {"ok":true,"ts":1760000000}.
func items(w http.ResponseWriter, _ *http.Request) {
	body := make([]byte, 0, 48)
	body = append(body, `{"ok":true,"ts":`...)
	body = strconv.AppendInt(body, time.Now().Unix(), 10)
	body = append(body, '}')
	w.Header()["Content-Type"] = contentJSON
	_, _ = w.Write(body) // the client may be gone: nothing to do about it
}
