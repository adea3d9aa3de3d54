package attack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"weir/bench/plan"
	"weir/bench/record"
)

// shape reads the text of a shape.
func shape(tb testing.TB, text string) plan.Shape {
	tb.Helper()
	s, err := plan.ParseShape(text)
	require.NoError(tb, err)
	return s
}

// aPlan sends a few requests, none of which is dropped however slow the machine.
func aPlan(tb testing.TB, url string) *plan.Plan {
	return &plan.Plan{
		Name: "test", Duration: 30 * time.Millisecond, Shape: shape(tb, "constant:100/s"), CatchUp: -1, Timeout: 20 * time.Second,
		Targets: []plan.Target{{Method: "GET", URL: url}},
	}
}

// collect is a sink that keeps records, in the order of their numbers.
type collect struct{ records []record.Record }

func (c *collect) sink(batch []record.Record) error {
	c.records = append(c.records, batch...)
	slices.SortFunc(c.records, func(a, b record.Record) int { return int(a.Seq) - int(b.Seq) })
	return nil
}

func attackWith(tb testing.TB, p *plan.Plan, config Config) []record.Record {
	tb.Helper()
	var got collect
	config.Sink = got.sink
	_, err := Run(context.Background(), p, config)
	require.NoError(tb, err)
	return got.records
}

// rawServer answers each connection by hand.
func rawServer(t *testing.T, serve func(conn net.Conn, requests *bufio.Reader)) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var serving sync.WaitGroup
	t.Cleanup(func() { _ = listener.Close(); serving.Wait() })
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				serve(conn, bufio.NewReader(conn))
			})
		}
	})
	return "http://" + listener.Addr().String() + "/"
}

// says answers every request of a connection with the same text, and closes
// after it where told.
func says(text string, thenClose bool) func(net.Conn, *bufio.Reader) {
	return func(conn net.Conn, requests *bufio.Reader) {
		for {
			request, err := http.ReadRequest(requests)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, request.Body)
			if _, err := io.WriteString(conn, text); err != nil || thenClose {
				return
			}
		}
	}
}

// The contract: whichever way a plain HTTP/1.1 request goes, its record is the
// same but for the instants.
func TestBothExchangesGiveTheSameRecords(t *testing.T) {
	const quota = "X-RateLimit-Capacity: 20\r\nx-ratelimit-remaining: 4.25\r\nX-RateLimit-Decided-At: 1790000000000000\r\n" +
		"RateLimit-Policy: \"a\";q=20;w=4\r\nRateLimit: \"a\";r=4;t=1\r\n"
	want := func(status int, outcome record.Outcome, failure string, read int64) record.Record {
		return record.Record{Status: status, Outcome: outcome, Error: failure, Read: read, Quota: record.NoQuota}
	}
	with := func(r record.Record, change func(*record.Record)) record.Record { change(&r); return r }
	for _, c := range []struct {
		name   string
		serve  func(net.Conn, *bufio.Reader)
		change func(*plan.Plan)
		want   record.Record
	}{
		{"200 with a length", says("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false), nil, want(200, record.Admitted, "", 5)},
		{"no length, closed", says("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello", true), nil, want(200, record.Admitted, "", 5)},
		{"HTTP/1.0", says("HTTP/1.0 200 OK\r\n\r\nhello", true), nil, want(200, record.Admitted, "", 5)},
		{"chunked", says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", false), nil, want(200, record.Admitted, "", 5)},
		{
			"chunked with a trailer",
			says("HTTP/1.1 200 OK\r\nTrailer: A\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n", false), nil,
			want(200, record.Admitted, "", 3),
		},
		{
			"a long header", says("HTTP/1.1 200 OK\r\nA: "+strings.Repeat("a", 20_000)+"\r\nContent-Length: 5\r\n\r\nhello", false), nil,
			want(200, record.Admitted, "", 5),
		},
		{
			"too long a header", says("HTTP/1.1 200 OK\r\nA: "+strings.Repeat("a", 200_000)+"\r\n\r\n", true), nil,
			want(0, record.Failed, reasonMalformed, 0),
		},
		{"204", says("HTTP/1.1 204 No Content\r\n\r\n", false), nil, want(204, record.Admitted, "", 0)},
		{"304 with a length", says("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", false), nil, want(304, record.Admitted, "", 0)},
		{"100 first", says("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", false), nil, want(200, record.Admitted, "", 1)},
		{"redirect", says("HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n", false), nil, want(302, record.Admitted, "", 0)},
		{"404", says("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", false), nil, want(404, record.Failed, "", 0)},
		{"503", says("HTTP/1.1 503 Away\r\nContent-Length: 0\r\nRetry-After: 2\r\n\r\n", false), nil, with(want(503, record.Failed, "", 0), func(r *record.Record) { r.Quota.RetryAfter = 2 })},
		{
			"429 with everything", says("HTTP/1.1 429 Too Many Requests\r\n"+quota+"Retry-After: 3\r\nContent-Length: 4\r\n\r\nslow", false), nil,
			with(want(429, record.Throttled, "", 4), func(r *record.Record) {
				r.Quota.Limit, r.Quota.Remaining, r.Quota.DecidedAt, r.Quota.RetryAfter = 20, 4.25, 1790000000000000, 3
				r.Quota.FieldLeft, r.Quota.FieldReset, r.Quota.Quota, r.Quota.Window = 4, 1, 20, 4
			}),
		},
		{
			"the field in two lines",
			says("HTTP/1.1 200 OK\r\nRateLimit: \"a\";r=9;t=1\r\nRateLimit: \"b\";r=4;t=2\r\nContent-Length: 0\r\n\r\n", false), nil,
			with(want(200, record.Admitted, "", 0), func(r *record.Record) { r.Quota.FieldLeft, r.Quota.FieldReset = 4, 2 }),
		},
		{
			"503 means throttled", says("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", false),
			func(p *plan.Plan) { p.ThrottleStatus = []int{429, 503} }, want(503, record.Throttled, "", 0),
		},
		{
			"HEAD", says("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", false),
			func(p *plan.Plan) { p.Targets[0].Method = "HEAD" }, want(200, record.Admitted, "", 0),
		},
		{
			"a body", says("HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok", false),
			func(p *plan.Plan) { p.Targets[0].Method, p.Targets[0].Body = "POST", []byte("0123456789") },
			with(want(201, record.Admitted, "", 2), func(r *record.Record) { r.Written = 10 }),
		},
		{"garbage", says("SSH-2.0-OpenSSH_9.2\r\n\r\n", true), nil, want(0, record.Failed, reasonMalformed, 0)},
		{"a garbled chunk", says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", true), nil, want(200, record.Failed, reasonMalformed, 0)},
		{"nothing at all", says("", true), nil, want(0, record.Failed, reasonLost, 0)},
		{"half a header", says("HTTP/1.1 200 OK\r\nServer: x\r\n", true), nil, want(0, record.Failed, reasonLost, 0)},
		{"half a body", says("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", true), nil, want(200, record.Failed, reasonLost, 4)},
		{"half a chunk", says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf", true), nil, want(200, record.Failed, reasonLost, 4)},
		{"no answer in time", says("", false), func(p *plan.Plan) { p.Timeout = 50 * time.Millisecond }, want(0, record.Failed, reasonTimeout, 0)},
		{
			"half an answer in time", says("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", false),
			func(p *plan.Plan) { p.Timeout = 50 * time.Millisecond }, want(200, record.Failed, reasonTimeout, 4),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := aPlan(t, rawServer(t, c.serve))
			p.Keys = plan.Keys{Count: 2, Spread: plan.Turn}
			if c.change != nil {
				c.change(p)
			}
			for _, onlyStd := range []bool{false, true} {
				got := attackWith(t, p, Config{onlyStd: onlyStd})
				require.Len(t, got, 3)
				for i, r := range got {
					want := c.want
					want.Seq, want.Plan, want.Cost, want.Target = uint64(i), "test", 1, p.Targets[0].Method+" "+p.Targets[0].URL
					instants := cmpopts.IgnoreFields(record.Record{}, "Planned", "Sent", "Done", "Key")
					if diff := cmp.Diff(want, r, instants, cmpopts.EquateNaNs()); diff != "" {
						t.Errorf("over net/http %v, record %d (-want +got):\n%s", onlyStd, i, diff)
					}
					assert.LessOrEqual(t, r.Planned, r.Sent)
					assert.LessOrEqual(t, r.Sent, r.Done)
				}
			}
		})
	}
}

func TestConnectionRefused(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := aPlan(t, "http://"+listener.Addr().String()+"/")
	require.NoError(t, Reach(context.Background(), p))
	require.NoError(t, listener.Close())

	for _, onlyStd := range []bool{false, true} {
		for _, r := range attackWith(t, p, Config{onlyStd: onlyStd}) {
			assert.Equal(t, reasonRefused, r.Error)
			assert.Equal(t, record.Failed, r.Outcome)
			assert.Zero(t, r.Status)
		}
	}
	assert.ErrorContains(t, Reach(context.Background(), p), p.Targets[0].URL+": connection refused")
}

// seen keeps what a server was asked.
type seen struct {
	mu       sync.Mutex
	requests []string
}

func (s *seen) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	header := r.Header.Clone()
	source, _, _ := net.SplitHostPort(r.RemoteAddr)
	line := fmt.Sprint(r.Method, " ", r.RequestURI, " ", r.Host, " ", header, " ", r.ContentLength, r.TransferEncoding, " ", string(body), " ", source)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, line)
}

// Both ways ask the same of the server.
func TestBothExchangesSendTheSame(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*plan.Plan)
		want   []string
	}{
		{"plain", func(*plan.Plan) {}, []string{"GET /items?a=b ", "User-Agent:[weir]", "X-Vegeta-Attack:[test]", "X-Vegeta-Seq:[0]", "127.0.0.1"}},
		{"key in a header", func(p *plan.Plan) { p.Keys.Count = 1 }, []string{"X-Api-Key:[test-0]"}},
		{"key in the query", func(p *plan.Plan) { p.Keys = plan.Keys{Count: 1, Via: "query:k 1"} }, []string{"GET /items?a=b&k+1=test-0 "}},
		{"key as source", func(p *plan.Plan) { p.Keys = plan.Keys{Count: 1, Via: "source"} }, []string{" 127.0.1.1"}},
		{"own headers", func(p *plan.Plan) {
			p.Targets[0].Header = map[string][]string{"host": {"api.example"}, "user-agent": {"me"}, "X-Two": {"1", "2"}, "Content-Length": {"77"}}
		}, []string{" api.example ", "User-Agent:[me]", "X-Two:[1 2]"}},
		{"a body", func(p *plan.Plan) { p.Targets[0].Method, p.Targets[0].Body = "POST", []byte("text") }, []string{"POST ", " 4 [] text "}},
		{"POST without a body", func(p *plan.Plan) { p.Targets[0].Method = "POST" }, []string{"Content-Length:[0]"}},
		{"DELETE", func(p *plan.Plan) { p.Targets[0].Method = "DELETE" }, []string{"DELETE "}},
		{"a password", func(p *plan.Plan) { p.Targets[0].URL = strings.Replace(p.Targets[0].URL, "//", "//u:p@", 1) }, []string{"Authorization:[Basic dTpw]"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var heard seen
			server := httptest.NewServer(&heard)
			defer server.Close()
			p := aPlan(t, server.URL+"/items?a=b")
			p.Duration = 5 * time.Millisecond
			c.change(p)
			for _, onlyStd := range []bool{false, true} {
				for _, r := range attackWith(t, p, Config{onlyStd: onlyStd}) {
					assert.Equal(t, 200, r.Status, r.Error)
				}
			}
			require.Len(t, heard.requests, 2)
			assert.Equal(t, heard.requests[0], heard.requests[1])
			for _, want := range c.want {
				assert.Contains(t, heard.requests[0], want)
			}
		})
	}
}

// A request whose connection breaks may have been charged, so it is not sent
// again: what the server counts is what is recorded.
func TestNothingIsSentTwice(t *testing.T) {
	for _, onlyStd := range []bool{false, true} {
		var received atomic.Int64
		url := rawServer(t, func(conn net.Conn, requests *bufio.Reader) {
			// The first request of a connection is answered, the second swallowed.
			for answered := false; ; answered = true {
				if _, err := http.ReadRequest(requests); err != nil {
					return
				}
				received.Add(1)
				if answered {
					return
				}
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			}
		})
		p := aPlan(t, url)
		p.Shape, p.Duration = shape(t, "users:1"), 50*time.Millisecond
		got := attackWith(t, p, Config{onlyStd: onlyStd})
		assert.Len(t, got, int(received.Load()), "over net/http: %v", onlyStd)
		lost := slices.ContainsFunc(got, func(r record.Record) bool { return r.Error == reasonLost })
		assert.True(t, lost || len(got) < 2, "a swallowed request is recorded as failed")
	}
}

// A connection that the server closed while it rested is not used again.
func TestRestedConnections(t *testing.T) {
	p := aPlan(t, rawServer(t, says("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true)))
	a, err := newAttack(p, Config{})
	require.NoError(t, err)
	defer a.abort()
	r := &a.hitter.requests[0]
	fast := r.via.(*fastExchange)
	for range 3 {
		var rec record.Record
		r.via.do(r, "", 0, &rec)
		assert.Equal(t, 200, rec.Status, rec.Error)

		rested := fast.idle[route{address: r.address}]
		require.Len(t, rested, 1)
		require.Eventually(t, func() bool { return stale(rested[0].Conn) }, 10*time.Second, time.Millisecond)
		rested[0].used -= int64(staleAfter)
	}
}

func TestOtherTransports(t *testing.T) {
	ok := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-RateLimit-Remaining", "3")
		fmt.Fprint(w, r.Proto)
	})
	secure := httptest.NewTLSServer(ok)
	defer secure.Close()
	both := httptest.NewUnstartedServer(ok)
	both.EnableHTTP2 = true
	both.Config.Protocols = new(http.Protocols)
	both.Config.Protocols.SetHTTP1(true)
	both.Config.Protocols.SetHTTP2(true)
	both.Config.Protocols.SetUnencryptedHTTP2(true)
	both.StartTLS()
	defer both.Close()
	plain := httptest.NewUnstartedServer(ok)
	plain.Config.Protocols = both.Config.Protocols
	plain.Start()
	defer plain.Close()
	socket := t.TempDir() + "/api.sock"
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)
	local := httptest.NewUnstartedServer(ok)
	local.Listener = listener
	local.Start()
	defer local.Close()

	for name, c := range map[string]struct {
		url    string
		config Config
		failed string
	}{
		"TLS":                 {url: secure.URL, config: Config{Insecure: true}},
		"TLS not trusted":     {url: secure.URL, failed: reasonTLS},
		"HTTP/2":              {url: both.URL, config: Config{Insecure: true, HTTP2: true}},
		"HTTP/2 in the clear": {url: plain.URL, config: Config{HTTP2: true}},
		"unix socket":         {url: "unix://" + socket + ":/items"},
	} {
		t.Run(name, func(t *testing.T) {
			p := aPlan(t, c.url)
			require.NoError(t, Reach(context.Background(), p))
			got := attackWith(t, p, c.config)
			require.Len(t, got, 3)
			for _, r := range got {
				assert.Equal(t, c.failed, r.Error)
				if c.failed == "" {
					assert.Equal(t, 200, r.Status)
					assert.InDelta(t, 3, r.Quota.Remaining, 0)
					assert.Equal(t, int64(len("HTTP/1.1")), r.Read)
				}
			}
		})
	}
}

func TestReasonsDoNotDiffer(t *testing.T) {
	for text, want := range map[string]string{
		"read tcp 127.0.0.1:40011->127.0.0.1:80: odd": "read tcp ADDRESS: odd",
		"dial tcp [::1]:8000: odd":                    "dial tcp ADDRESS: odd",
	} {
		assert.Equal(t, want, reason(errors.New(text)))
	}
}
