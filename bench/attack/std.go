package attack

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"

	"weir/bench/record"
)

// A stdExchange sends over net/http: TLS, HTTP/2, proxies, unix sockets.
type stdExchange struct {
	*exchanges
	socket string

	mu         sync.Mutex
	transports map[string]*http.Transport // by source address: net/http pools by target only
}

var _ exchange = (*stdExchange)(nil)

func newStdExchange(x *exchanges, socket string) *stdExchange {
	std := &stdExchange{exchanges: x, socket: socket, transports: map[string]*http.Transport{}}
	context.AfterFunc(x.ctx, func() {
		std.mu.Lock()
		defer std.mu.Unlock()
		for _, transport := range std.transports {
			transport.CloseIdleConnections()
		}
	})
	return std
}

func (x *stdExchange) do(r *request, key string, seq uint64, rec *record.Record) {
	ctx, cancel := context.WithTimeout(x.ctx, x.timeout)
	defer cancel()
	var sent atomic.Int64
	sent.Store(x.clock.now())
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { sent.Store(x.clock.now()) },
	})
	req := r.httpRequest(key, seq).WithContext(ctx)
	req.Body = x.body(r)

	answer, err := x.transport(r.source(key)).RoundTrip(req)
	if err == nil {
		rec.Status = answer.StatusCode
		rec.Read, err = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close() // read to its end, or broken anyway
	}
	rec.Sent, rec.Done = sent.Load(), x.clock.now()
	if err != nil {
		rec.Error = reason(err)
	}
	if answer != nil {
		header := answer.Header
		rec.Quota = record.ParseQuota(func(name string) string { return strings.Join(header[name], ",") }, rec.Done)
	}
}

// body returns the request's body. It hides from net/http that the body could be
// read again, or is empty: a request that net/http thinks it may repeat is sent
// again when its connection breaks, and may be charged twice and recorded once.
func (x *stdExchange) body(r *request) io.ReadCloser {
	switch {
	case len(r.target.Body) > 0:
		return io.NopCloser(struct{ io.Reader }{bytes.NewReader(r.target.Body)})
	case x.config.HTTP2:
		return http.NoBody // HTTP/2 says which requests were not looked at, and only those are sent again
	case r.target.Method == http.MethodGet, r.target.Method == http.MethodHead, r.target.Method == http.MethodOptions:
		return io.NopCloser(strings.NewReader(""))
	}
	return http.NoBody
}

func (x *stdExchange) transport(source string) *http.Transport {
	x.mu.Lock()
	defer x.mu.Unlock()
	transport := x.transports[source]
	if transport == nil {
		transport = x.newTransport(source)
		x.transports[source] = transport
	}
	return transport
}

func (x *stdExchange) newTransport(source string) *http.Transport {
	dialer := x.dialer(source)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!x.config.HTTP2)
	protocols.SetHTTP2(x.config.HTTP2)
	protocols.SetUnencryptedHTTP2(x.config.HTTP2)
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if x.socket != "" {
				network, address = "unix", x.socket
			}
			return dialer.DialContext(ctx, network, address)
		},
		TLSClientConfig:        &tls.Config{InsecureSkipVerify: x.config.Insecure}, //nolint:gosec // asked for with --insecure
		TLSHandshakeTimeout:    x.timeout,
		MaxIdleConnsPerHost:    maxIdle,
		DisableCompression:     true, // Record.Read counts what was sent
		MaxResponseHeaderBytes: maxHeader,
		Protocols:              protocols,
	}
}
