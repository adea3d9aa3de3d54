package server

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/netip"
	"net/textproto"
	"slices"
	"strings"
)

// DefaultIPv6Bits is how much of an IPv6 address names a client. A household or
// a host usually owns a whole /64, so single addresses would be free to change.
const DefaultIPv6Bits = 64

// unknownKey is the bucket of requests whose peer has no address.
const unknownKey = "unknown"

// An Identity says whose bucket a request takes from. The zero Identity is the
// peer's address, IPv6 by /64, with no proxy trusted.
type Identity struct {
	// Header names the client, e.g. "X-API-Key", in canonical form. A request
	// without it is known by its address. Empty: always the address.
	Header string
	// Trusted are the proxies whose X-Forwarded-For is believed.
	Trusted []netip.Prefix
	// IPv6Bits is how many leading bits of an IPv6 address name a client, from
	// 1 to 128; 0 is DefaultIPv6Bits.
	IPv6Bits int
}

// ParseKeyBy reads "address" or "header:NAME" and returns the header's canonical
// name, empty for the address.
func ParseKeyBy(text string) (string, error) {
	if text == "address" {
		return "", nil
	}
	name, found := strings.CutPrefix(text, "header:")
	if !found || !isToken(name) {
		return "", fmt.Errorf("key %q: unknown (want address, or header:NAME, e.g. header:X-API-Key)", text)
	}
	return textproto.CanonicalMIMEHeaderKey(name), nil
}

// isToken reports whether text can be the name of a header (RFC 9110 §5.6.2).
func isToken(text string) bool {
	for i := range len(text) {
		c := text[i]
		alphanumeric := c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
		if !alphanumeric && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return text != ""
}

// ParseProxies reads addresses and CIDR ranges separated by commas, e.g.
// "127.0.0.1, 10.0.0.0/8, fd00::/8".
func ParseProxies(text string) ([]netip.Prefix, error) {
	var proxies []netip.Prefix
	for field := range strings.SplitSeq(text, ",") {
		field = strings.TrimSpace(field)
		if field == "" {
			continue
		}
		proxy, err := parseProxy(field)
		if err != nil {
			return nil, fmt.Errorf("proxy %q: not an address or a range (want e.g. 10.0.0.7 or 10.0.0.0/8)", field)
		}
		proxies = append(proxies, proxy)
	}
	return proxies, nil
}

func parseProxy(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		address, err := netip.ParseAddr(text)
		if err != nil {
			return netip.Prefix{}, err //nolint:wrapcheck // ParseProxies says it better
		}
		address = plain(address)
		return netip.PrefixFrom(address, address.BitLen()), nil
	}
	proxy, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, err //nolint:wrapcheck // ParseProxies says it better
	}
	if mapped := proxy.Addr(); mapped.Is4In6() && proxy.Bits() >= 96 {
		proxy = netip.PrefixFrom(mapped.Unmap(), proxy.Bits()-96)
	}
	return proxy.Masked(), nil
}

// Key returns the name of the client that sent r: "203.0.113.9",
// "2001:db8:1:2::/64", or 32 hexadecimal digits, the start of a header's
// SHA-256. It never holds a secret, and is at most 49 bytes long.
func (id *Identity) Key(r *http.Request) string {
	if id.Header != "" {
		if values := r.Header[id.Header]; len(values) > 0 && values[0] != "" {
			return hashed(values[0])
		}
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return unknownKey
	}
	client := plain(peer.Addr())
	if len(id.Trusted) > 0 {
		client = forwardedFor(client, r.Header["X-Forwarded-For"], id.Trusted)
	}
	return id.addressKey(client)
}

// addressKey is 2001:db8:1:2::/64 for an IPv6 address, so that a change of
// IPv6Bits does not mix buckets.
func (id *Identity) addressKey(client netip.Addr) string {
	bits := id.IPv6Bits
	if bits == 0 {
		bits = DefaultIPv6Bits
	}
	if client.Is4() || bits == 128 {
		return client.String()
	}
	network, _ := client.Prefix(bits) // bits is at most 128: it cannot fail
	return network.String()
}

// hashed keeps secrets out of Redis, logs and metrics, and keys short. 128 bits
// are too many to find two keys with one bucket.
func hashed(value string) string {
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:16])
}

// forwardedFor is the client behind peer. Each proxy appends the address that it
// was called from, so the lines of X-Forwarded-For, joined in order, end with
// what peer says, and only as much of their end is believed as was written by
// trusted proxies:
//
//	X-Forwarded-For: spoofed, 203.0.113.9, 10.0.0.2     peer 10.0.0.1
//	                 any lie  ▲ the client  ▲ trusted    ▲ trusted
//
// A hop that is no address ends the walk: whoever passed it on is the client.
func forwardedFor(peer netip.Addr, lines []string, trusted []netip.Prefix) netip.Addr {
	client := peer
	for _, line := range slices.Backward(lines) {
		for rest := line; rest != ""; {
			if !contains(trusted, client) {
				return client
			}
			var hop string
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				rest, hop = rest[:comma], rest[comma+1:]
			} else {
				rest, hop = "", rest
			}
			if hop = strings.Trim(hop, " \t"); hop == "" {
				continue // a list may have empty members (RFC 9110 §5.6.1)
			}
			address, ok := parseHop(hop)
			if !ok {
				return client
			}
			client = address
		}
	}
	return client
}

func contains(ranges []netip.Prefix, address netip.Addr) bool {
	for _, r := range ranges {
		if r.Contains(address) {
			return true
		}
	}
	return false
}

// parseHop reads an address as proxies write it: 203.0.113.9, 203.0.113.9:4711,
// 2001:db8::1, [2001:db8::1], [2001:db8::1]:4711.
func parseHop(text string) (netip.Addr, bool) {
	bare := text
	if inner, found := strings.CutPrefix(text, "["); found && strings.HasSuffix(inner, "]") {
		bare = inner[:len(inner)-1]
	}
	if address, err := netip.ParseAddr(bare); err == nil {
		return plain(address), true
	}
	withPort, err := netip.ParseAddrPort(text)
	return plain(withPort.Addr()), err == nil
}

// plain makes the two ways to write an IPv4 address one (masking ::ffff:a.b.c.d
// as IPv6 would put all of IPv4 into one bucket), and drops the zone, which
// means something on this host only.
func plain(address netip.Addr) netip.Addr { return address.Unmap().WithZone("") }
