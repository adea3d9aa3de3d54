package limittest

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// A Proxy is a network between a client and a Redis that can lose one reply:
// the command has been carried out, and the client will never know.
type Proxy struct {
	listener net.Listener
	drop     atomic.Bool
	mu       sync.Mutex
	open     map[net.Conn]bool // nil once closed
}

// NewProxy listens on a free loopback port in front of address, and closes
// every connection when the test ends. Network is "tcp" or "unix".
func NewProxy(tb testing.TB, network, address string) *Proxy {
	tb.Helper()
	listener, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxy{listener: listener, open: make(map[net.Conn]bool)}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { p.serve(client, network, address) })
		}
	})
	tb.Cleanup(func() {
		_ = listener.Close()
		p.mu.Lock()
		for c := range p.open {
			_ = c.Close()
		}
		p.open = nil
		p.mu.Unlock()
		serving.Wait()
	})
	return p
}

// Addr returns host:port of the proxy.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// DropReply loses what Redis sends next, and the connection it came on.
func (p *Proxy) DropReply() { p.drop.Store(true) }

// Dropped reports whether the reply has been lost.
func (p *Proxy) Dropped() bool { return !p.drop.Load() }

func (p *Proxy) serve(client net.Conn, network, address string) {
	defer p.track(client)()
	redis, err := new(net.Dialer).DialContext(context.Background(), network, address)
	if err != nil {
		return
	}
	defer p.track(redis)()
	var requests sync.WaitGroup
	requests.Go(func() {
		_, _ = io.Copy(redis, client)
		_ = redis.Close()
	})
	buffer := make([]byte, 64<<10)
	for {
		n, err := redis.Read(buffer)
		if err != nil || p.drop.CompareAndSwap(true, false) {
			break
		}
		if _, err := client.Write(buffer[:n]); err != nil {
			break
		}
	}
	_ = client.Close()
	requests.Wait()
}

// track remembers c for the end of the test, and returns what closes it.
func (p *Proxy) track(c net.Conn) (done func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open == nil {
		_ = c.Close()
		return func() {}
	}
	p.open[c] = true
	return func() {
		_ = c.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.open, c)
	}
}
