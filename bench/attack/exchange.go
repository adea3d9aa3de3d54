package attack

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"time"

	"weir/bench/plan"
)

// exchanges makes the exchanges an attack needs, each at most once.
type exchanges struct {
	ctx     context.Context //nolint:containedctx // ends what is in flight, whoever sent it
	clock   clock
	timeout time.Duration
	config  Config
	sockets map[string]exchange // over net/http, by the path of a unix socket; "" for TCP
	fast    exchange
}

func newExchanges(ctx context.Context, c clock, p *plan.Plan, config Config) *exchanges {
	return &exchanges{ctx: ctx, clock: c, timeout: p.RequestTimeout(), config: config, sockets: map[string]exchange{}}
}

// of returns the exchange that a request takes.
func (x *exchanges) of(r *request) exchange {
	if r.network == "tcp" && r.url.Scheme == "http" && !x.config.HTTP2 && !proxied(r) && !x.config.onlyStd {
		if x.fast == nil {
			x.fast = newFastExchange(x)
		}
		return x.fast
	}
	socket := ""
	if r.network == "unix" {
		socket = r.address
	}
	if x.sockets[socket] == nil {
		x.sockets[socket] = newStdExchange(x, socket)
	}
	return x.sockets[socket]
}

func proxied(r *request) bool {
	proxy, err := http.ProxyFromEnvironment(&http.Request{URL: r.url})
	return err != nil || proxy != nil
}

// dialer returns how to connect from a source address, or from any.
func (x *exchanges) dialer(source string) *net.Dialer {
	dialer := &net.Dialer{Timeout: x.timeout}
	if !x.config.AllowRemote {
		dialer.Control = loopbackOnly
	}
	if source != "" {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(source), 0)) // the plan made it
	}
	return dialer
}
