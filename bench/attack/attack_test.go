package attack

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"weir/bench/plan"
	"weir/bench/record"
)

// server serves until the test ends.
func server(tb testing.TB, handler http.HandlerFunc) string {
	s := httptest.NewServer(handler)
	tb.Cleanup(s.Close)
	return s.URL
}

func ok(http.ResponseWriter, *http.Request) {}

func TestRunCarriesOutThePlan(t *testing.T) {
	t.Parallel()
	url := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-API-Key") == "test-1" {
			w.WriteHeader(http.StatusTooManyRequests)
		}
	})
	p := aPlan(t, url+"/a")
	p.Shape, p.Duration, p.Seed, p.Cost = shape(t, "ramp:100/s-500/s"), 200*time.Millisecond, 7, 3
	p.Keys = plan.Keys{Count: 3}
	p.Targets = append(p.Targets, plan.Target{Method: "GET", URL: url + "/b"})
	var got collect
	var told Progress
	done, err := Run(context.Background(), p, Config{Sink: got.sink, Progress: func(at Progress) { told = at }})
	require.NoError(t, err)

	arrivals := slices.Collect(p.Shape.Arrivals(p.Seed, p.Duration))
	require.Len(t, got.records, len(arrivals))
	assert.Equal(t, int64(len(arrivals)), done.Counts.Planned)
	assert.Equal(t, int64(len(arrivals)), done.Counts.Sent)
	assert.Equal(t, int64(len(arrivals)), done.Counts.Done)
	assert.Zero(t, done.Counts.Dropped)
	assert.Empty(t, done.Error)
	assert.Equal(t, Engine, done.Engine)
	assert.LessOrEqual(t, told.Counts.Sent, told.Counts.Planned)

	// Workers may take neighbours in either order, but every planned instant is
	// used once, with its own key and target.
	slices.SortFunc(got.records, func(a, b record.Record) int { return int(a.Planned - b.Planned) })
	keys := p.Chooser()
	for i, r := range got.records {
		assert.Equal(t, done.Started.UnixNano()+int64(arrivals[i]), r.Planned)
		assert.Equal(t, keys.Key(uint64(i)), r.Key)
		assert.Equal(t, "GET "+p.Targets[i%2].URL, r.Target)
		assert.Equal(t, int64(3), r.Cost)
		assert.LessOrEqual(t, r.Planned, r.Sent, "nothing leaves early")
		assert.LessOrEqual(t, r.Sent, r.Done)
		want := record.Admitted
		if r.Key == "test-1" {
			want = record.Throttled
		}
		assert.Equal(t, want, r.Outcome)
		assert.Empty(t, r.Error, "being throttled is no error")
	}
	seqs := map[uint64]bool{}
	for _, r := range got.records {
		seqs[r.Seq] = true
	}
	assert.Len(t, seqs, len(arrivals), "numbers from 0 without a gap")
	assert.True(t, seqs[0])
}

// A pacer that comes a second late drops what was due meanwhile, and goes on
// with the plan; or, told so, sends all of it.
func TestPacerDropsWhatIsTooLate(t *testing.T) {
	t.Parallel()
	for _, catchUp := range []time.Duration{0, -1} {
		p := aPlan(t, "http://127.0.0.1:1/")
		p.Duration, p.CatchUp = 1050*time.Millisecond, catchUp
		a := &attack{plan: p, clock: newClock()}
		a.start = a.clock.now() - int64(time.Second)
		pacer := newPacer(context.Background(), a)
		for hits := uint64(0); ; hits++ {
			if _, stop := pacer.Pace(0, hits); stop {
				break
			}
			next := <-pacer.handed
			assert.LessOrEqual(t, next.planned, a.clock.now())
			a.counts.done.Add(1)
			a.counts.returned.Add(1)
		}
		counts := a.counts.snapshot()
		assert.Equal(t, int64(105), counts.Planned)
		assert.Equal(t, counts.Planned, counts.Dropped+counts.Done)
		if catchUp < 0 {
			assert.Zero(t, counts.Dropped)
		} else {
			assert.GreaterOrEqual(t, counts.Dropped, int64(99))
		}
		assert.False(t, pacer.full)
	}
}

func TestClosedLoop(t *testing.T) {
	t.Parallel()
	var now, most atomic.Int64
	url := server(t, func(http.ResponseWriter, *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
	})
	for text, workers := range map[string]int64{"users:3": 3, "max": 5} {
		most.Store(0)
		p := aPlan(t, url)
		p.Shape, p.Duration = shape(t, text), 100*time.Millisecond
		if text == "max" {
			p.Workers = 5
		}
		p.Keys = plan.Keys{Count: 2, Spread: plan.Turn}
		var got collect
		done, err := Run(context.Background(), p, Config{Sink: got.sink})
		require.NoError(t, err)
		require.NotEmpty(t, got.records)
		assert.Equal(t, int64(len(got.records)), done.Counts.Planned)
		assert.Equal(t, done.Counts.Planned, done.Counts.Done)
		assert.LessOrEqual(t, most.Load(), workers)
		assert.Zero(t, done.Counts.Late)
		assert.Empty(t, done.Error)
		for _, r := range got.records {
			assert.Equal(t, r.Sent, r.Planned)
		}
	}
}

func TestWorkersBound(t *testing.T) {
	t.Parallel()
	block := make(chan struct{})
	url := server(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-block:
		case <-r.Context().Done():
		}
	})
	defer close(block)
	p := aPlan(t, url)
	p.Shape, p.Duration, p.Workers, p.Timeout = shape(t, "burst:5@1s"), time.Second, 2, 50*time.Millisecond
	var got collect
	done, err := Run(context.Background(), p, Config{Sink: got.sink})
	require.NoError(t, err)
	assert.Len(t, got.records, 5)
	assert.Contains(t, done.Error, "all 2 workers were busy")
	assert.Equal(t, int64(5), done.Counts.Done)
	for _, r := range got.records {
		assert.Equal(t, reasonTimeout, r.Error)
	}
}

// When the attack is stopped, what is in flight ends and is recorded.
func TestStop(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	url := server(t, func(http.ResponseWriter, *http.Request) {
		once.Do(func() { close(arrived) })
		<-release
	})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-arrived
		cancel()
		close(release)
	}()
	p := aPlan(t, url)
	p.Duration = time.Hour
	var got collect
	done, err := Run(ctx, p, Config{Sink: got.sink})
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, "interrupted", done.Error)
	assert.Equal(t, done.Counts.Sent, int64(len(got.records)))
	assert.Equal(t, done.Counts.Sent+done.Counts.Dropped, done.Counts.Planned)
	for _, r := range got.records {
		assert.Equal(t, 200, r.Status, r.Error)
	}
}

// A target that never answers does not keep a stopped attack from ending.
func TestStopGivesUp(t *testing.T) {
	for _, onlyStd := range []bool{false, true} {
		arrived, release := make(chan struct{}), make(chan struct{})
		url := server(t, func(http.ResponseWriter, *http.Request) {
			close(arrived)
			<-release
		})
		t.Cleanup(func() { close(release) })
		p := aPlan(t, url)
		p.Shape, p.Duration = shape(t, "users:1"), time.Hour
		var got collect
		a, err := newAttack(p, Config{Sink: got.sink, onlyStd: onlyStd})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			<-arrived
			cancel()
			a.abort() // what the end of the grace does
		}()
		require.ErrorIs(t, a.run(ctx), context.Canceled)
		if assert.Len(t, got.records, 1) {
			assert.Equal(t, reasonStopped, got.records[0].Error)
		}
	}
}

func TestSinkThatFails(t *testing.T) {
	t.Parallel()
	p := aPlan(t, server(t, ok))
	p.Duration = time.Hour
	full := errors.New("no space left on device")
	_, err := Run(context.Background(), p, Config{Sink: func([]record.Record) error { return full }})
	require.ErrorIs(t, err, full)
}

func TestEdgesAreOnTheWallClock(t *testing.T) {
	t.Parallel()
	p := aPlan(t, server(t, ok))
	p.Shape, p.Duration = shape(t, "edge:2@100ms"), 150*time.Millisecond
	var got collect
	done, err := Run(context.Background(), p, Config{Sink: got.sink})
	require.NoError(t, err)
	assert.Zero(t, done.Started.UnixNano()%int64(100*time.Millisecond))
	assert.Len(t, got.records, 6)
}

func TestRemoteTargets(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"http://192.0.2.1/", "https://[2001:db8::1]:8443/", "http://0.0.0.0:80/"} {
		_, err := Run(context.Background(), aPlan(t, url), Config{Sink: (&collect{}).sink})
		require.ErrorIs(t, err, ErrRemote, url)
		assert.ErrorContains(t, err, url)
	}
	for _, url := range []string{"http://127.8.9.1/", "http://[::1]:8000/", "http://localhost/", "unix:///run/a.sock:/"} {
		assert.NoError(t, CheckLoopback(context.Background(), aPlan(t, url)), url)
	}
	assert.ErrorIs(t, loopbackOnly("tcp4", "192.0.2.1:80", nil), ErrRemote)
	assert.NoError(t, loopbackOnly("tcp4", "127.0.0.1:80", nil))
}

func TestBadPlan(t *testing.T) {
	t.Parallel()
	p := aPlan(t, "http://127.0.0.1:1/")
	p.Duration = -1
	_, err := Run(context.Background(), p, Config{Sink: (&collect{}).sink})
	assert.ErrorContains(t, err, "duration")
}
