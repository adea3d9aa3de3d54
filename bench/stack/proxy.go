package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A Trouble is what a [Proxy] does to what the server answers. The zero Trouble
// passes everything on at once.
type Trouble struct {
	// Delay is how long every piece of an answer is held back.
	Delay time.Duration
	// Drip, if set, passes one byte on in so long, as a network at its end does.
	Drip time.Duration
	// Lose, if set, throws away what answers a request that holds this text, e.g.
	// "evalsha", and closes the connection: the server has carried the command out,
	// and the client will never know.
	Lose string
	// Stall takes connections and requests and passes nothing on, either way.
	Stall bool
	// Say, if set, is all that a client hears: it is sent in place of the server's
	// answers, and the connection is closed.
	Say string
}

// A Proxy is a network between a client and a TCP server that can be made
// to fail. It listens on a free loopback port. Its methods are safe for
// concurrent use, and a change holds at once for connections that are open.
type Proxy struct {
	listener net.Listener
	server   string // address
	trouble  atomic.Pointer[Trouble]
	lost     atomic.Int64

	serving sync.WaitGroup
	mu      sync.Mutex
	changed chan struct{}     // closed at the next change of trouble
	open    map[net.Conn]bool // nil once closed
}

// StartProxy listens in front of a server's address, e.g. "127.0.0.1:6379".
func StartProxy(server string) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // loopback: returns at once
	if err != nil {
		return nil, fmt.Errorf("start proxy: %w", err)
	}
	p := &Proxy{listener: listener, server: server, changed: make(chan struct{}), open: map[net.Conn]bool{}}
	p.trouble.Store(new(Trouble))
	p.serving.Go(func() {
		for {
			client, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				p.serving.Go(func() { p.serve(client) })
			}
		}
	})
	return p, nil
}

// Addr is host:port of the proxy.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Set makes trouble, or ends it with the zero Trouble.
func (p *Proxy) Set(trouble Trouble) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trouble.Store(&trouble)
	close(p.changed)
	p.changed = make(chan struct{})
}

// Cut closes every connection that is open now.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		_ = c.Close() // its ends learn it
	}
}

// Lost is how many answers were thrown away.
func (p *Proxy) Lost() int64 { return p.lost.Load() }

// Close stops listening and closes every connection.
func (p *Proxy) Close() {
	_ = p.listener.Close() // nothing is lost by it
	p.Set(Trouble{})
	p.Cut()
	p.mu.Lock()
	p.open = nil
	p.mu.Unlock()
	p.serving.Wait()
}

func (p *Proxy) serve(client net.Conn) {
	defer p.track(client)()
	server, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "tcp", p.server)
	if err != nil {
		return
	}
	defer p.track(server)()
	var requests sync.WaitGroup
	var asked atomic.Bool // the last request is one whose answer is to be lost
	requests.Go(func() {
		_ = p.pass(server, client, false, &asked) // the other direction ends with it
		_ = server.Close()
	})
	_ = p.pass(client, server, true, &asked) // as above
	_ = client.Close()
	requests.Wait()
}

// pass copies from one end to the other until one of them ends. Answers meet
// the trouble.
func (p *Proxy) pass(to io.Writer, from io.Reader, answers bool, asked *atomic.Bool) error {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return err
		}
		if lose := p.trouble.Load().Lose; !answers {
			asked.Store(lose != "" && bytes.Contains(buffer[:n], []byte(lose)))
		} else if asked.Load() {
			p.lost.Add(1)
			return errCut
		}
		if err := p.deliver(to, buffer[:n], answers); err != nil {
			return err
		}
	}
}

var errCut = errors.New("cut by the proxy")

// deliver writes one piece, as the trouble of this moment has it.
func (p *Proxy) deliver(to io.Writer, piece []byte, answer bool) error {
	for {
		p.mu.Lock()
		now, changed, closed := p.trouble.Load(), p.changed, p.open == nil
		p.mu.Unlock()
		switch {
		case closed:
			return errCut
		case now.Stall:
			<-changed
			continue
		case !answer:
		case now.Say != "":
			_, err := io.WriteString(to, now.Say)
			return errors.Join(err, errCut)
		case now.Drip > 0 && len(piece) > 1:
			if _, err := to.Write(piece[:1]); err != nil {
				return err
			}
			piece = piece[1:]
			wait(now.Drip, changed)
			continue
		default:
			wait(now.Delay, changed)
		}
		_, err := to.Write(piece)
		return err
	}
}

// wait returns after d, or when the trouble has changed.
func wait(d time.Duration, changed <-chan struct{}) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-changed:
	}
}

// track remembers c for Cut, and returns what closes it.
func (p *Proxy) track(c net.Conn) (done func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open == nil {
		_ = c.Close() // the proxy is closed
		return func() {}
	}
	p.open[c] = true
	return func() {
		_ = c.Close() // or it is closed already
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.open, c)
	}
}
