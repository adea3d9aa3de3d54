package attack

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"weir/bench/record"
)

const (
	buffer     = 4 << 10  // bytes read ahead: thousands of connections may wait for a slow target
	maxHeader  = 64 << 10 // bytes of an answer's header
	maxIdle    = 16_384   // connections kept for the next request
	maxKept    = 64 << 10 // bytes of a request's text kept with its connection
	maxInterim = 10       // 1xx answers before the final one
	// staleAfter is how long a connection may rest before it is looked at: the
	// server may have closed it.
	staleAfter = 10 * time.Millisecond
)

// A fastExchange sends plain HTTP/1.1. It writes requests made ready beforehand,
// has fasthttp parse the header of the answer, and discards the body: about
// nothing is allocated.
type fastExchange struct {
	*exchanges

	mu   sync.Mutex
	idle map[route][]*conn  // the last used last
	kept int                // in idle
	open map[*conn]struct{} // idle or not, to end them all
	over bool               // the attack was ended
}

// A route is what connections that can stand in for each other have in common.
type route struct{ address, source string }

// A conn is a connection to a target with its buffers.
type conn struct {
	net.Conn
	route  route
	reader *bufio.Reader
	header fasthttp.ResponseHeader
	text   []byte
	used   int64 // last, by the attack's clock
}

var _ exchange = (*fastExchange)(nil)

func newFastExchange(x *exchanges) *fastExchange {
	fast := &fastExchange{exchanges: x, idle: map[route][]*conn{}, open: map[*conn]struct{}{}}
	context.AfterFunc(x.ctx, fast.end)
	return fast
}

// end breaks every connection.
func (x *fastExchange) end() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.over = true
	for c := range x.open {
		_ = c.Close() // it is thrown away
	}
}

func (x *fastExchange) do(r *request, key string, seq uint64, rec *record.Record) {
	rec.Sent = x.clock.now()
	deadline := time.Now().Add(x.timeout)
	c, err := x.connect(route{r.address, r.source(key)}, deadline)
	if err != nil {
		rec.Done, rec.Error = x.clock.now(), x.reason(err)
		return
	}
	c.text = r.appendText(c.text[:0], key, seq)
	_ = c.SetDeadline(deadline) // fails on a closed connection, and so does what follows
	rec.Sent = x.clock.now()
	_, writeErr := c.Write(c.text)
	// A server may answer and close before it has read a long body.
	again, err := c.read(r.target.Method, rec)
	rec.Done = x.clock.now()
	if err != nil {
		if writeErr != nil && rec.Status == 0 {
			err = writeErr
		}
		rec.Error = x.reason(err)
	}
	if rec.Status != 0 {
		rec.Quota = parseQuota(&c.header, rec.Done)
	}
	c.used = rec.Done
	x.release(c, again && err == nil && writeErr == nil)
}

// reason is the reason, where the end of the attack is not mistaken for the
// server's doing.
func (x *fastExchange) reason(err error) string {
	if x.ctx.Err() != nil {
		return reasonStopped
	}
	return reason(err)
}

// connect takes a connection that is free, or makes one.
func (x *fastExchange) connect(to route, deadline time.Time) (*conn, error) {
	for c := x.take(to); c != nil; c = x.take(to) {
		if x.clock.now()-c.used < int64(staleAfter) || !stale(c.Conn) {
			return c, nil
		}
		x.drop(c)
	}
	return x.dial(to, deadline)
}

// dial makes a connection.
func (x *fastExchange) dial(to route, deadline time.Time) (*conn, error) {
	ctx, cancel := context.WithDeadline(x.ctx, deadline)
	defer cancel()
	raw, err := x.dialer(to.source).DialContext(ctx, "tcp", to.address)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: raw, route: to, reader: bufio.NewReaderSize(raw, buffer)}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over {
		_ = raw.Close() // nothing was said on it
		return nil, errStopped
	}
	x.open[c] = struct{}{}
	return c, nil
}

// warm makes connections that the first requests will find, until one fails or a
// second has passed.
func (x *fastExchange) warm(r *request, n int) {
	deadline := time.Now().Add(min(x.timeout, time.Second))
	for range n {
		c, err := x.dial(route{address: r.address}, deadline)
		if err != nil {
			return
		}
		c.used = x.clock.now()
		x.release(c, true)
	}
}

func (x *fastExchange) take(to route) *conn {
	x.mu.Lock()
	defer x.mu.Unlock()
	free := x.idle[to]
	if len(free) == 0 {
		return nil
	}
	c := free[len(free)-1]
	x.idle[to] = free[:len(free)-1]
	x.kept--
	return c
}

// release keeps a connection for the next request, if it is good for one.
func (x *fastExchange) release(c *conn, good bool) {
	if cap(c.text) > maxKept {
		c.text = nil
	}
	x.mu.Lock()
	if good && x.kept < maxIdle && !x.over {
		x.idle[c.route] = append(x.idle[c.route], c)
		x.kept++
		x.mu.Unlock()
		return
	}
	x.mu.Unlock()
	x.drop(c)
}

func (x *fastExchange) drop(c *conn) {
	x.mu.Lock()
	delete(x.open, c)
	x.mu.Unlock()
	_ = c.Close() // nothing is expected from it any more
}

// read reads one answer to its end, and reports whether the connection is good
// for another request.
func (c *conn) read(method string, rec *record.Record) (again bool, err error) {
	c.header.Reset()
	for range maxInterim {
		if err := c.readHeader(); err != nil {
			return false, headerError(err)
		}
		status := c.header.StatusCode()
		if status < 100 || status > 999 {
			return false, errMalformed
		}
		if status >= 200 || status == http.StatusSwitchingProtocols {
			rec.Status = status
			rec.Read, err = c.discard(method)
			return !c.header.ConnectionClose() && c.header.ContentLength() != untilClosed && c.reader.Buffered() == 0, err
		}
	}
	return false, fmt.Errorf("%w: more than %d interim answers", errMalformed, maxInterim)
}

// readHeader reads a header, with more room where it needs it.
func (c *conn) readHeader() error {
	err := c.header.Read(c.reader)
	if small := (*fasthttp.ErrSmallBuffer)(nil); errors.As(err, &small) && c.reader.Size() < maxHeader {
		begun, _ := c.reader.Peek(c.reader.Buffered()) // never more than there is
		c.reader = bufio.NewReaderSize(io.MultiReader(bytes.NewReader(bytes.Clone(begun)), c.Conn), maxHeader)
		err = c.header.Read(c.reader)
	}
	return err
}

// headerError tells a connection that broke from an answer that is none.
func headerError(err error) error {
	if netErr := net.Error(nil); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, fasthttp.ErrTimeout) || errors.As(err, &netErr) {
		return err
	}
	return fmt.Errorf("%w: %w", errMalformed, err)
}

// What fasthttp gives as the length of a body that does not say it.
const (
	chunked     = -1
	untilClosed = -2
)

// discard reads the body and returns its length.
func (c *conn) discard(method string) (n int64, err error) {
	status := c.header.StatusCode()
	if method == http.MethodHead || status < 200 || status == http.StatusNoContent || status == http.StatusNotModified {
		return 0, nil
	}
	switch length := c.header.ContentLength(); length {
	case chunked:
		if n, err = io.Copy(io.Discard, httputil.NewChunkedReader(c.reader)); err == nil {
			err = c.header.ReadTrailer(c.reader)
		}
	case untilClosed:
		n, err = io.Copy(io.Discard, c.reader)
	default:
		var read int
		read, err = c.reader.Discard(length)
		n = int64(read)
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// maxFields is how many headers about quotas an answer may carry.
const maxFields = 24

// parseQuota reads the quota from an answer's header. It goes through the header
// once and keeps the few fields that matter, for ParseQuota to ask for.
func parseQuota(header *fasthttp.ResponseHeader, done int64) record.Quota {
	var (
		names, values [maxFields]string
		n             int
	)
	for name, value := range header.All() {
		if n < maxFields && tells(name) {
			names[n], values[n] = string(name), string(value)
			n++
		}
	}
	if n == 0 {
		return record.NoQuota
	}
	return record.ParseQuota(func(name string) string {
		found := ""
		for i := range n {
			switch {
			case names[i] != name:
			case found == "":
				found = values[i]
			default:
				found += "," + values[i]
			}
		}
		return found
	}, done)
}

// tells reports whether a header may be about a quota, by how its name, which
// fasthttp has made canonical, begins.
func tells(name []byte) bool {
	for _, prefix := range [...]string{"X-Rate", "Ratelimit", "Retry-After", "Date"} {
		if len(name) >= len(prefix) && string(name[:len(prefix)]) == prefix {
			return true
		}
	}
	return false
}
