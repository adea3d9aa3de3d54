package attack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"weir/bench/plan"
)

// ErrRemote reports a target elsewhere than on this machine's loopback, where
// weir sends load only when it is told to.
var ErrRemote = errors.New("target is not on loopback")

// CheckLoopback refuses a plan with a target that is not on loopback, with an
// ErrRemote that names it.
func CheckLoopback(ctx context.Context, p *plan.Plan) error {
	requests, err := prepare(p)
	if err != nil {
		return err
	}
	for i := range requests {
		if r := &requests[i]; !onLoopback(ctx, r) {
			return fmt.Errorf("%w: %s", ErrRemote, r.target.URL)
		}
	}
	return nil
}

func onLoopback(ctx context.Context, r *request) bool {
	if r.network == "unix" {
		return true
	}
	host, _, _ := net.SplitHostPort(r.address) // place has joined it
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil || len(addresses) == 0 {
		return host == "localhost" // what cannot be found cannot be known to be near
	}
	return !slices.ContainsFunc(addresses, func(a netip.Addr) bool { return !a.Unmap().IsLoopback() })
}

// loopbackOnly is a net.Dialer's Control that refuses what CheckLoopback
// refuses, in case a name means another address by now.
func loopbackOnly(network, address string, _ syscall.RawConn) error {
	if strings.HasPrefix(network, "unix") {
		return nil
	}
	if at, err := netip.ParseAddrPort(address); err != nil || !at.Addr().Unmap().IsLoopback() {
		return ErrRemote
	}
	return nil
}

// Reach checks that something listens at every target, by connecting to it: a
// request would take a token.
func Reach(ctx context.Context, p *plan.Plan) error {
	requests, err := prepare(p)
	if err != nil {
		return err
	}
	dialer := net.Dialer{Timeout: min(p.RequestTimeout(), 5*time.Second)}
	reached := map[string]bool{}
	for i := range requests {
		r := &requests[i]
		if reached[r.address] {
			continue
		}
		conn, err := dialer.DialContext(ctx, r.network, r.address)
		if err != nil {
			return fmt.Errorf("target %s: %s (is the API running there?)", r.target.URL, reason(err))
		}
		_ = conn.Close() // nothing was said on it
		reached[r.address] = true
	}
	return nil
}
