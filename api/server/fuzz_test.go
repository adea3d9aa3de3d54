package server_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"weir/api/limit/guard"
	"weir/api/server"
)

// A header that names the client is only ever known by 128 bits of its hash.
func FuzzKeyHeader(f *testing.F) {
	f.Add("X-API-Key", "secret")
	f.Add("x-forwarded-for", "")
	f.Add("Authorization", "Bearer \x00\xff")
	f.Fuzz(func(t *testing.T, name, value string) {
		header, err := server.ParseKeyBy("header:" + name)
		if err != nil {
			return
		}
		identity := server.Identity{Header: header}
		r := request("203.0.113.9:80")
		r.Header[header] = []string{value}
		key := identity.Key(r)
		switch {
		case value == "" && key != "203.0.113.9":
			t.Errorf("Key without %s = %q, want the address", header, key)
		case value != "" && (len(key) != 32 || strings.Trim(key, "0123456789abcdef") != ""):
			t.Errorf("Key of %s %q = %q, want 32 hexadecimal digits", header, value, key)
		}
	})
}

// Ranges of proxies are refused, or mean what they say: no range of IPv4 believes
// an IPv6 client.
func FuzzParseProxies(f *testing.F) {
	f.Add("127.0.0.1, 10.0.0.0/8, fd00::/8")
	f.Add("::ffff:10.0.0.0/104,::/0,fe80::1%eth0")
	f.Fuzz(func(t *testing.T, text string) {
		proxies, err := server.ParseProxies(text)
		if err != nil {
			return
		}
		for _, p := range proxies {
			if !p.IsValid() || p != p.Masked() || p.Addr().Zone() != "" {
				t.Errorf("ParseProxies(%q) has %s, which is no plain range", text, p)
			}
		}
	})
}

// No request, whatever its path and headers hold, is answered with 500 or has
// what it sent in the answer's headers.
func FuzzRequest(f *testing.F) {
	handler := server.New(server.Config{MaxAge: 1e9, Breaker: guard.NewBreaker(guard.BreakerConfig{}), Routes: nil})
	f.Add("/metrics", "application/json;q=0.5, text/plain")
	f.Add("//evil.example/%0d%0aX-Injected:%20x", "*/*")
	f.Add("/items/../free", "application/openmetrics-text")
	f.Fuzz(func(t *testing.T, path, accept string) {
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		r.URL.Path, r.RequestURI = "/"+path, ""
		r.Header["Accept"] = []string{accept}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code >= http.StatusInternalServerError {
			t.Errorf("GET %q with Accept %q = %d", path, accept, w.Code)
		}
		if location := w.Header().Get("Location"); strings.ContainsAny(location, "\r\n") || strings.HasPrefix(location, "//") {
			t.Errorf("GET %q leads to %q", path, location)
		}
	})
}
