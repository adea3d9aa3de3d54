package faults

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"weir/bench/attack"
	"weir/bench/plan"
	"weir/bench/record"
)

// clientRows are clients that mean harm.
func clientRows() []Row {
	const quiet = "1/h,capacity=20" // a bucket once used stays to be looked at
	return []Row{
		{
			Name: "million-keys", Long: true, Fault: "1,000,000 distinct keys, as fast as it goes within a minute",
			Must: "memory of the API flat; Redis bounded by the time to full of a bucket",
			Rig:  Rig{Limit: "5/s,capacity=20"}, Do: millionKeys,
			Proofs: []Proof{apiMemoryFlat, sane},
		},
		{
			Name: "slow-clients", Fault: "500 clients send a header a byte each 200 ms",
			Must: "they are closed within the 5 s a header may take; others are served meanwhile",
			Rig:  Rig{Limit: ledger}, Do: slowClients,
		},
		{
			Name: "idle-connections", Fault: "10,000 connections are opened, used once and left idle",
			Must: "others are served meanwhile; what they cost goes with them",
			Rig:  Rig{Limit: ledger}, Do: idleConnections,
		},
		{
			Name: "malformed-http", Fault: "headers of 1 MB, malformed HTTP, injected headers",
			Must: "refused cheaply, nothing charged, nothing of it echoed",
			Rig:  Rig{Limit: quiet, Settings: map[string]string{"KEY_BY": "address"}}, Do: malformed,
		},
		{
			Name: "forged-addresses", Fault: "forged X-Forwarded-For behind a trusted proxy: lists, IPv4-mapped, IPv6, ports, garbage",
			Must: "the key is the rightmost hop that is not trusted, unmapped, IPv6 by /64",
			Rig:  Rig{Limit: quiet, Settings: map[string]string{"KEY_BY": "address", "TRUSTED_PROXIES": "127.0.0.0/8,10.0.0.0/8"}}, Do: forged(true),
		},
		{
			Name: "forged-untrusted", Fault: "the same without a trusted proxy",
			Must: "the key is the peer's address",
			Rig:  Rig{Limit: quiet, Settings: map[string]string{"KEY_BY": "address"}}, Do: forged(false),
		},
		{
			Name: "secret-keys", Fault: "API keys are sent, at log level debug, and Redis is killed (−9)",
			Must: "they are hashed before they reach Redis, the log or /metrics",
			Rig:  Rig{Limit: quiet, Settings: map[string]string{"LOG_LEVEL": "debug"}}, Do: secretKeys,
		},
	}
}

// millionKeys sends each key once, and watches Redis.
func millionKeys(s *Scene) error {
	const keys = 1_000_000
	p := s.plan()
	shape, err := plan.ParseShape("users:48")
	if err != nil {
		return err //nolint:wrapcheck // cannot be
	}
	p.Shape, p.Duration, p.Keys, p.Limit = shape, time.Minute, plan.Keys{Count: keys, Spread: plan.Turn}, nil
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	var beside sync.WaitGroup
	stop := make(chan struct{})
	beside.Go(func() { s.sample(stop) })
	var mostKeys, mostMemory int64
	beside.Go(func() {
		for tick := time.NewTicker(sampleEvery); ; {
			mostKeys = max(mostKeys, s.redis.admin.DBSize(s.ctx).Val())
			mostMemory = max(mostMemory, s.redis.info(s.ctx, "used_memory"))
			select {
			case <-tick.C:
			case <-stop:
				tick.Stop()
				return
			}
		}
	})
	memory := s.redis.info(s.ctx, "used_memory")
	sent, statuses := int64(0), map[int]int{}
	started := time.Now()
	_, err = attack.Run(ctx, p, attack.Config{Sink: func(batch []record.Record) error {
		for i := range batch {
			statuses[batch[i].Status]++
		}
		if sent += int64(len(batch)); sent >= keys {
			cancel() // every key has been sent
		}
		return nil
	}})
	took := time.Since(started)
	close(stop)
	beside.Wait()
	if err != nil && !errors.Is(err, context.Canceled) || s.ctx.Err() != nil {
		return err //nolint:wrapcheck // it says attack
	}
	claim := "1,000,000 distinct keys within a minute"
	if sent < keys {
		s.findings = append(s.findings, unclear(claim, "%d in %s: this machine offers no more", sent, took.Round(time.Millisecond)))
	} else {
		s.findings = append(s.findings, found(true, claim, "%d in %s", sent, took.Round(time.Millisecond)))
	}
	// One take of a full bucket is refilled in 1/rate = 200 ms; Redis deletes what
	// has expired ten times a second, a quarter of it at worst left each time.
	bound := int64(float64(sent) / took.Seconds() * 2)
	s.findings = append(s.findings,
		found(mostKeys <= bound, "Redis holds the buckets of 2 s at most (200 ms to full, and what its expiry is behind), not all",
			"%d keys at most, of %d sent; bound %d", mostKeys, sent, bound),
		found(mostMemory-memory < 64<<20, "Redis' memory is bounded", "%.1f MB at most, %.1f MB before", float64(mostMemory)/(1<<20), float64(memory)/(1<<20)),
		found(statuses[http.StatusOK] >= int(sent)*99/100, "every key is admitted", "%s", tally(statuses)))
	return await(s.ctx, "Redis to forget all keys", func() bool { return s.redis.admin.DBSize(s.ctx).Val() == 0 })
}

// apiMemoryFlat is about the second half of the load against its first: what
// warms up does not count, what grows does.
func apiMemoryFlat(s *Scene) Finding {
	const claim = "memory of the API is flat: the last quarter needs no more than 16 MB above the second"
	n := len(s.samples)
	if n < 16 {
		return unclear(claim, "only %d samples", n)
	}
	most := func(samples []sample) (m float64) {
		for i := range samples {
			m = max(m, samples[i].of(resident))
		}
		return m / (1 << 20)
	}
	second, last := most(s.samples[n/4:n/2]), most(s.samples[3*n/4:])
	return found(last <= second+16, claim, "resident: %.1f MB at first, %.1f MB in the second quarter, %.1f MB in the last", most(s.samples[:1]), second, last)
}

func (s *Scene) host() string { return strings.TrimPrefix(s.apis[0].URL, "http://") }

func (s *Scene) dial() (net.Conn, error) {
	return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(s.ctx, "tcp", s.host())
}

// slowClients is slowloris.
func slowClients(s *Scene) error {
	const clients = 500
	var closed, answered atomic.Int64
	var longest atomic.Int64
	var all sync.WaitGroup
	for range clients {
		conn, err := s.dial()
		if err != nil {
			return err //nolint:wrapcheck // it names the address
		}
		all.Go(func() {
			defer conn.Close()
			started := time.Now()
			gone := make(chan struct{})
			go func() {
				defer close(gone)
				_, _ = io.Copy(io.Discard, conn) // until the API hangs up
			}()
			_, _ = io.WriteString(conn, "GET /items HTTP/1.1\r\nHost: x\r\nX-Slow: ") // gone tells
			for time.Since(started) < 15*time.Second {
				select {
				case <-gone:
					closed.Add(1)
					for took := int64(time.Since(started)); took > longest.Load(); {
						longest.Store(took)
					}
					return
				case <-time.After(200 * time.Millisecond):
					_, _ = io.WriteString(conn, "x") // likewise
				}
			}
		})
	}
	stop := make(chan struct{})
	go func() { all.Wait(); close(stop) }()
	failed, slowest := 0, time.Duration(0)
	for done := false; !done; {
		started := time.Now()
		if _, err := s.remaining("fast"); err != nil {
			failed++
		}
		answered.Add(1)
		slowest = max(slowest, time.Since(started))
		select {
		case <-stop:
			done = true
		case <-time.After(20 * time.Millisecond):
		}
	}
	s.findings = append(s.findings,
		found(closed.Load() == clients && longest.Load() < int64(8*time.Second), "every slow client is closed, 5 s after it came",
			"%d of %d, the last after %s", closed.Load(), clients, time.Duration(longest.Load()).Round(time.Millisecond)),
		found(failed == 0 && answered.Load() > 50, "others are served meanwhile", "%d of %d failed, the slowest took %s", failed, answered.Load(), slowest.Round(time.Millisecond)))
	return nil
}

// idleConnections opens many connections and leaves them alone.
func idleConnections(s *Scene) error {
	const many = 10_000
	before := scrape(s.ctx, s.apis[0].URL)
	conns := make([]net.Conn, 0, many)
	closeAll := func() {
		for _, conn := range conns {
			_ = conn.Close() // it has served
		}
	}
	defer closeAll()
	for i := range many {
		conn, err := s.dial()
		if err != nil {
			return cannot("only %d connections can be opened here: %v", i, err)
		}
		conns = append(conns, conn)
		if _, err := io.WriteString(conn, "GET /free HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
		if answer, err := bufio.NewReader(conn).ReadString('\n'); !strings.Contains(answer, "200") {
			return fmt.Errorf("connection %d: %q, %w", i, answer, err)
		}
	}
	started := time.Now()
	_, err := s.remaining("another")
	took := time.Since(started)
	during := scrape(s.ctx, s.apis[0].URL)
	if before == nil || during == nil {
		return errors.New("the API does not answer /metrics")
	}
	perConn := (during[resident] - before[resident]) / many
	s.findings = append(s.findings,
		found(err == nil && took < time.Second, "others are served meanwhile", "in %s", took.Round(time.Millisecond)),
		found(during[files] >= many && perConn < 64<<10, "an idle connection costs less than 64 kB", "%.1f kB each, of %.0f descriptors and %.0f goroutines", perConn/1024, during[files], during[goroutines]))
	closeAll()
	var after map[string]float64
	if err := await(s.ctx, "the API to let go of them", func() bool {
		after = scrape(s.ctx, s.apis[0].URL)
		return after != nil && after[files] <= before[files]+20 && after[goroutines] <= before[goroutines]+20
	}); err != nil {
		s.findings = append(s.findings, found(false, "what they cost goes with them", "%v", err))
		return nil
	}
	s.findings = append(s.findings, found(true, "what they cost goes with them", "descriptors %.0f, goroutines %.0f, as before: %.0f, %.0f", after[files], after[goroutines], before[files], before[goroutines]))
	return nil
}

// say sends text as it is and returns all that comes back.
func (s *Scene) say(text string) (string, error) {
	conn, err := s.dial()
	if err != nil {
		return "", err //nolint:wrapcheck // it names the address
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(8 * time.Second)); err != nil {
		return "", err //nolint:wrapcheck // cannot be
	}
	go func() { _, _ = io.WriteString(conn, text) }() // the API may hang up before all is sent
	answer, err := io.ReadAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return string(answer), err //nolint:wrapcheck // what came before counts
	}
	return string(answer), nil // hung up, gently or not
}

// marker is what nobody may echo.
const marker = "marker5f3a"

// malformed sends what is no proper request.
func malformed(s *Scene) error {
	last := "Connection: close\r\n\r\n"
	for _, test := range []struct {
		name, text string
		want       []string // beginnings of the status; "" is to hang up without one
	}{
		{"a header of 1 MB", "GET /items HTTP/1.1\r\nHost: x\r\nX-Big: " + strings.Repeat("x", 1<<20) + "\r\n" + last, []string{"431", ""}},
		{"20,000 headers", "GET /items HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("A: b\r\n", 20_000) + last, []string{"431", ""}},
		{"a path of 1 MB", "GET /" + strings.Repeat("x", 1<<20) + " HTTP/1.1\r\nHost: x\r\n" + last, []string{"431", "414", ""}},
		{"no HTTP", "hello " + marker + "\r\n\r\n", []string{"400"}},
		{"HTTP/0.9", "GET /items\r\n\r\n", []string{"400"}},
		{"HTTP/9.9", "GET /items HTTP/9.9\r\nHost: x\r\n" + last, []string{"505", "400"}},
		{"no host", "GET /items HTTP/1.1\r\n" + last, []string{"400"}},
		{"two hosts", "GET /items HTTP/1.1\r\nHost: a\r\nHost: b\r\n" + last, []string{"400"}},
		{"two lengths", "GET /items HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n" + last, []string{"400"}},
		{"a length that is none", "GET /items HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n" + last, []string{"400"}},
		{"an unknown coding", "GET /items HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: " + marker + "\r\n" + last, []string{"501", "400"}},
		{"NUL in a header", "GET /items HTTP/1.1\r\nHost: x\r\nX-A: a\x00b\r\n" + last, []string{"400"}},
		{"a space in a name", "GET /items HTTP/1.1\r\nHost: x\r\nX A: b\r\n" + last, []string{"400"}},
		{"a header without colon", "GET /items HTTP/1.1\r\nHost: x\r\n" + marker + "\r\n" + last, []string{"400"}},
		{"another method", "DELETE /items HTTP/1.1\r\nHost: x\r\n" + last, []string{"405"}},
		{"TLS on a plain port", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", []string{"400", ""}},
		{"a path with line ends", "GET /%0d%0aX-Injected:%20" + marker + " HTTP/1.1\r\nHost: x\r\n" + last, []string{"404"}},
		{"a path to be cleaned", "GET //evil.example/..%0d%0aX-Injected:%20x HTTP/1.1\r\nHost: x\r\n" + last, []string{"301", "404", "400"}},
	} {
		answer, err := s.say(test.text)
		status := ""
		if _, rest, ok := strings.Cut(answer, "HTTP/1.1 "); ok {
			status = rest[:min(3, len(rest))]
		}
		head, _, _ := strings.Cut(answer, "\r\n\r\n")
		echoed := strings.Contains(answer, marker) || strings.Contains(strings.ToLower(head), "\nx-injected")
		s.findings = append(s.findings, found(err == nil && slices.Contains(test.want, status) && !echoed, test.name+" is refused",
			"status %q, %d bytes%s", status, len(answer), map[bool]string{true: ", and what was sent is echoed"}[echoed]))
	}
	// Values that are allowed, and mean nothing.
	answer, err := s.say("GET /items?q=" + marker + " HTTP/1.1\r\nHost: " + marker + "\r\nX-API-Key: " + marker + "\r\nX-Forwarded-For: " + marker + "\r\nAccept: " + marker + "\r\n" + last)
	s.findings = append(s.findings, found(err == nil && strings.HasPrefix(answer, "HTTP/1.1 200") && !strings.Contains(answer, marker), "nothing that is sent is echoed", "%d bytes", len(answer)))
	left, err := s.remaining("")
	s.findings = append(s.findings,
		found(err == nil && left == s.limit.Capacity-2, "only the request that was proper is charged", "%d of %d left after it and this one", left, s.limit.Capacity),
		found(s.said(marker) == 0, "nothing of it is in the log", "%d lines", s.said(marker)))
	return nil
}

// forged asks with forged addresses and looks at whose bucket was taken from.
func forged(trusted bool) func(*Scene) error {
	return func(s *Scene) error {
		for _, test := range []struct{ name, lines, key string }{
			{"none", "", "127.0.0.1"},
			{"one", "203.0.113.9", "203.0.113.9"},
			{"a lie before", "198.51.100.1, 203.0.113.9", "203.0.113.9"},
			{"a trusted hop behind", "203.0.113.9, 10.0.0.2", "203.0.113.9"},
			{"a lie that looks trusted", "10.9.9.9, 203.0.113.9", "203.0.113.9"},
			{"two lines", "198.51.100.1\r\nX-Forwarded-For: 203.0.113.9", "203.0.113.9"},
			{"a port", "203.0.113.9:4711", "203.0.113.9"},
			{"IPv4-mapped", "::ffff:203.0.113.9", "203.0.113.9"},
			{"IPv6", "2001:db8:1:2:3::4", "2001:db8:1:2::/64"},
			{"IPv6 of the same /64", "2001:db8:1:2:ffff::5", "2001:db8:1:2::/64"},
			{"IPv6 with port", "[2001:db8:7::1]:443", "2001:db8:7::/64"},
			{"a zone", "fe80::1%eth0", "fe80::/64"},
			{"garbage", "not an address", "127.0.0.1"},
			{"garbage behind", "203.0.113.9, not an address", "127.0.0.1"},
			{"many", strings.Repeat("198.51.100.1, ", 500) + "203.0.113.9", "203.0.113.9"},
			{"commas alone", ",,, ,", "127.0.0.1"},
		} {
			if err := s.redis.do(s.ctx, "FLUSHALL"); err != nil {
				return err
			}
			header := ""
			if test.lines != "" {
				header = "X-Forwarded-For: " + test.lines + "\r\n"
			}
			want := test.key
			if !trusted {
				want = "127.0.0.1"
			}
			if _, err := s.say("GET /items HTTP/1.1\r\nHost: x\r\n" + header + "Connection: close\r\n\r\n"); err != nil {
				return err
			}
			keys := s.redis.admin.Keys(s.ctx, "*").Val()
			s.findings = append(s.findings, found(len(keys) == 1 && keys[0] == "tb:user:"+want, test.name+": the key is "+want, "%q", keys))
		}
		return nil
	}
}

// secretKeys looks for API keys everywhere.
func secretKeys(s *Scene) error {
	secret := "sk-" + marker
	for range 3 {
		if _, err := s.remaining(secret); err != nil {
			return err
		}
	}
	keys := s.redis.admin.Keys(s.ctx, "*").Val()
	metrics, err := s.say("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if err != nil {
		return err
	}
	s.redis.kill()
	if _, err := s.remaining(secret); err == nil {
		return errors.New("a killed Redis decided")
	}
	digest := hashed(secret)
	s.findings = append(s.findings,
		found(len(keys) == 1 && keys[0] == s.bucket(secret), "Redis holds 128 bits of its SHA-256", "%q", keys),
		found(!strings.Contains(metrics, secret) && strings.Contains(metrics, digest), "/metrics shows the hash", "%d bytes", len(metrics)),
		found(s.said(secret) == 0 && s.said("no decision") > 0, "the log at level debug does not hold it", "%d of %d lines", s.said(secret), len(s.logs())))
	return nil
}
