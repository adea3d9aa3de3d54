package server_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"weir/api/server"
)

func mustProxies(tb testing.TB, text string) []netip.Prefix {
	tb.Helper()
	proxies, err := server.ParseProxies(text)
	if err != nil {
		tb.Fatal(err)
	}
	return proxies
}

// request is one from peer with lines of X-Forwarded-For.
func request(peer string, forwarded ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/items", http.NoBody)
	r.RemoteAddr = peer
	for _, line := range forwarded {
		r.Header.Add("X-Forwarded-For", line)
	}
	return r
}

func TestKeyByAddress(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name      string
		proxies   string
		peer      string
		forwarded []string
		want      string
	}{
		{"peer", "", "203.0.113.9:4711", nil, "203.0.113.9"},
		{"nobody is trusted", "", "203.0.113.9:4711", []string{"198.51.100.1"}, "203.0.113.9"},
		{"peer is not the trusted one", "10.0.0.0/8", "203.0.113.9:4711", []string{"198.51.100.1"}, "203.0.113.9"},
		{"trusted peer", "10.0.0.0/8", "10.1.2.3:80", []string{"198.51.100.1"}, "198.51.100.1"},
		{"trusted peer says nothing", "10.0.0.0/8", "10.1.2.3:80", nil, "10.1.2.3"},
		{"first is a lie", "10.0.0.0/8", "10.1.2.3:80", []string{"1.1.1.1, 198.51.100.1"}, "198.51.100.1"},
		{"trusted hop is passed over", "10.0.0.0/8", "10.1.2.3:80", []string{"1.1.1.1, 198.51.100.1,10.0.0.2"}, "198.51.100.1"},
		{"trusted address behind the client is a lie", "10.0.0.0/8", "10.1.2.3:80", []string{"10.0.0.9, 198.51.100.1"}, "198.51.100.1"},
		{"all trusted", "10.0.0.0/8", "10.1.2.3:80", []string{"10.0.0.1, 10.0.0.2"}, "10.0.0.1"},
		{"lines join", "10.0.0.0/8", "10.1.2.3:80", []string{"1.1.1.1", "198.51.100.1", "10.0.0.2"}, "198.51.100.1"},
		{"with port", "10.0.0.0/8", "10.1.2.3:80", []string{"198.51.100.1:99"}, "198.51.100.1"},
		{"IPv6 in brackets with port", "10.0.0.0/8", "10.1.2.3:80", []string{"[2001:db8:1:2:3::4]:99"}, "2001:db8:1:2::/64"},
		{"IPv6 in brackets", "10.0.0.0/8", "10.1.2.3:80", []string{"[2001:db8:1:2:3::4]"}, "2001:db8:1:2::/64"},
		{"garbage ends the walk", "10.0.0.0/8", "10.1.2.3:80", []string{"198.51.100.1, unknown, 10.0.0.2"}, "10.0.0.2"},
		{"empty members", "10.0.0.0/8", "10.1.2.3:80", []string{" , 198.51.100.1,, ", ""}, "198.51.100.1"},
		{"one address trusted", "10.1.2.3", "10.1.2.3:80", []string{"10.1.2.4"}, "10.1.2.4"},
		{"trusted IPv6", "fd00::/8", "[fd00::1]:80", []string{"198.51.100.1"}, "198.51.100.1"},
		{"range written as mapped", "::ffff:10.0.0.0/104", "10.1.2.3:80", []string{"198.51.100.1"}, "198.51.100.1"},
		{"IPv4 mapped is IPv4", "", "[::ffff:203.0.113.9]:80", nil, "203.0.113.9"},
		{"mapped hop is IPv4", "10.0.0.0/8", "[::ffff:10.1.2.3]:80", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		{"IPv6 by /64", "", "[2001:db8:1:2:3:4:5:6]:80", nil, "2001:db8:1:2::/64"},
		{"zone", "", "[fe80::1%eth0]:80", nil, "fe80::/64"},
		{"no address", "", "@", nil, "unknown"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			id := server.Identity{Trusted: mustProxies(t, test.proxies)}
			if got := id.Key(request(test.peer, test.forwarded...)); got != test.want {
				t.Errorf("Key(peer %s, forwarded %q) = %q, want %q", test.peer, test.forwarded, got, test.want)
			}
		})
	}
}

func TestKeyIPv6Bits(t *testing.T) {
	t.Parallel()
	for bits, want := range map[int]string{
		48: "2001:db8:1::/48", 56: "2001:db8:1:200::/56", 128: "2001:db8:1:2ff::1",
	} {
		id := server.Identity{IPv6Bits: bits}
		if got := id.Key(request("[2001:db8:1:2ff::1]:80")); got != want {
			t.Errorf("Key by %d bits = %q, want %q", bits, got, want)
		}
	}
}

func TestKeyByHeader(t *testing.T) {
	t.Parallel()
	name, err := server.ParseKeyBy("header:x-api-key")
	if err != nil {
		t.Fatal(err)
	}
	id := server.Identity{Header: name}
	key := func(value string) string {
		r := request("203.0.113.9:4711")
		if value != "" {
			r.Header.Set("X-API-Key", value)
		}
		return id.Key(r)
	}
	// printf %s secret | sha256sum
	if got, want := key("secret"), "2bb80d537b1da3e38bd30361aa855686"; got != want {
		t.Errorf("Key(secret) = %q, want %q", got, want)
	}
	if long := key(strings.Repeat("x", 8000)); len(long) != 32 || long == key("secret") {
		t.Errorf("Key of 8000 bytes = %q, want 32 digits of its own", long)
	}
	if got := key(""); got != "203.0.113.9" {
		t.Errorf("Key without the header = %q, want the address", got)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "header", "header:", "header:a b", "header:a:b", "Address"} {
		if name, err := server.ParseKeyBy(text); err == nil || !strings.Contains(err.Error(), "want address, or header:NAME") {
			t.Errorf("ParseKeyBy(%q) = %q, %v, want a refusal with the choices", text, name, err)
		}
	}
	for _, text := range []string{"10.0.0.0/33", "localhost", "10.0.0", "fe80::%eth0/64"} {
		if got, err := server.ParseProxies(text); err == nil || !strings.Contains(err.Error(), "want e.g.") {
			t.Errorf("ParseProxies(%q) = %v, %v, want a refusal with an example", text, got, err)
		}
	}
}

// Whatever a client writes into X-Forwarded-For, its key is short and plain; it
// is the peer's while that is not trusted; and what stands left of the address
// that a trusted proxy wrote changes nothing.
func FuzzForwardedFor(f *testing.F) {
	f.Add("1.1.1.1, 10.0.0.2", "198.51.100.1")
	f.Add("[::1]:80,,garbage", "2001:db8::1")
	f.Add("::ffff:10.0.0.1%eth0", " ")
	trusting := server.Identity{Trusted: mustProxies(f, "10.0.0.0/8")}
	f.Fuzz(func(t *testing.T, first, second string) {
		key := trusting.Key(request("10.0.0.1:80", first, second))
		if len(key) == 0 || len(key) > 49 || strings.Trim(key, "0123456789abcdef.:/") != "" {
			t.Errorf("Key(%q, %q) = %q, want an address", first, second, key)
		}
		if got := trusting.Key(request("203.0.113.9:80", first, second)); got != "203.0.113.9" {
			t.Errorf("untrusted peer: Key(%q, %q) = %q, want the peer", first, second, got)
		}
		if got := trusting.Key(request("10.0.0.1:80", first, second+",198.51.100.7, 10.0.0.2")); got != "198.51.100.7" {
			t.Errorf("lies before the client: Key(%q, %q, …) = %q, want 198.51.100.7", first, second, got)
		}
	})
}
