package faults

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"weir/api/limit"
	"weir/bench/attack"
	"weir/bench/judge"
	"weir/bench/plan"
	"weir/bench/record"
	"weir/bench/run"
	"weir/bench/stack"
)

// A Rig is what runs during a row, and the load on it. Its zero fields mean one
// API process over a Redis of its own, and 2,000/s over 20 keys for 8 s.
type Rig struct {
	Limit    string            // e.g. "50/s,capacity=100"; rate 0 counts charges
	Settings map[string]string // of the API, e.g. REDIS_AWAY
	APIs     int
	Proxy    bool     // between API and Redis
	Redis    []string // more arguments of redis-server
	Cluster  bool     // 3 masters, 3 replicas
	Preload  bool     // the Redis runs under a clock that can be stepped
	Rate     int      // requests a second
	Keys     int
	For      time.Duration
	Timeout  time.Duration // of one request; 0 is 5 s
}

// A Scene is a row being carried out, and then its evidence.
type Scene struct {
	ctx    context.Context
	config Config
	row    *Row
	dir    string // of logs
	limit  limit.Limit

	redis   *redisServer
	cluster []*redisServer
	proxy   *stack.Proxy
	stack   *stack.Stack
	apis    []*stack.API
	gone    []*stack.API // ended on purpose: their logs are evidence
	started int          // API processes so far
	urls    []string     // of the API when the load began

	begin    time.Time // of the load
	done     run.Attack
	mu       sync.Mutex
	spans    map[string]span // of the acts
	samples  []sample
	records  []record.Record
	findings []Finding
}

// A span is when an act began and ended.
type span struct{ began, ended time.Time }

// cannotError says why a fault cannot be made on this machine.
type cannotError struct{ why string }

func (e *cannotError) Error() string { return e.why }

func cannot(why string, args ...any) error { return &cannotError{fmt.Sprintf(why, args...)} }

func asCannot(err error, to **cannotError) bool { return errors.As(err, to) }

// began is when the named act began, ended when it was done.
func (s *Scene) began(act string) time.Time { return s.spans[act].began }
func (s *Scene) ended(act string) time.Time { return s.spans[act].ended }

// play carries the row out.
func (s *Scene) play() error {
	if s.row.Do != nil && s.row.Rig.Limit == "" {
		return s.row.Do(s)
	}
	if err := s.raise(); err != nil {
		return err
	}
	if s.row.Do != nil {
		return s.row.Do(s)
	}
	return s.attack()
}

// raise starts what the rig needs.
func (s *Scene) raise() (err error) {
	rig := &s.row.Rig
	if s.limit, err = limit.Parse(rig.Limit); err != nil {
		return err //nolint:wrapcheck // it says what is wrong
	}
	if s.config.API == "" {
		return errors.New("no weir-api program was given")
	}
	if err := s.raiseRedis(); err != nil {
		return err
	}
	if s.stack, err = stack.Start(s.ctx, stack.Config{LogDir: s.dir, RedisURL: s.nodes()[0].url(), APIBinary: s.config.API}); err != nil {
		return err //nolint:wrapcheck // it says what is missing
	}
	for range max(rig.APIs, 1) {
		if err := s.startAPI(nil); err != nil {
			return err
		}
	}
	return nil
}

// raiseRedis starts the Redis, or all of them, and the proxy.
func (s *Scene) raiseRedis() (err error) {
	rig := &s.row.Rig
	if rig.Cluster {
		s.cluster, err = startCluster(s.ctx, s.dir)
		return err
	}
	var environment []string
	if rig.Preload {
		if environment, err = s.clockEnvironment(); err != nil {
			return err
		}
	}
	if s.redis, err = startRedis(s.ctx, s.dir, "redis", environment, rig.Redis...); err != nil {
		return err
	}
	if rig.Proxy {
		s.proxy, err = stack.StartProxy(s.redis.addr)
	}
	return err
}

// nodes are the Redis servers.
func (s *Scene) nodes() []*redisServer {
	if s.redis != nil {
		return []*redisServer{s.redis}
	}
	return s.cluster
}

// redisURL is where the API finds its Redis.
func (s *Scene) redisURL() string {
	switch {
	case s.cluster != nil:
		others := make([]string, 0, len(s.cluster))
		for _, node := range s.cluster[1:] {
			others = append(others, "addr="+node.addr)
		}
		return "redis://" + s.cluster[0].addr + "?" + strings.Join(others, "&")
	case s.proxy != nil:
		return "redis://" + s.proxy.Addr() + "/0"
	}
	return s.redis.url()
}

// startAPI starts one more API process.
func (s *Scene) startAPI(more map[string]string) error {
	settings := map[string]string{
		"REDIS_URL": s.redisURL(), "KEY_BY": "header:X-API-Key",
		"TB_CAPACITY": strconv.FormatInt(s.limit.Capacity, 10), "TB_RATE": s.limit.Rate.String(),
	}
	maps.Copy(settings, s.row.Rig.Settings)
	maps.Copy(settings, more)
	s.started++
	api, err := s.stack.StartAPI(s.ctx, strconv.Itoa(s.started), settings)
	if err != nil {
		return err //nolint:wrapcheck // it has the API's own words
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apis = append(s.apis, api)
	return nil
}

// close stops everything.
func (s *Scene) close() {
	for _, node := range s.nodes() {
		if node != nil {
			node.cont() // what is stopped cannot end
		}
	}
	if s.stack != nil {
		s.stack.Close()
	}
	if s.proxy != nil {
		s.proxy.Close()
	}
	for _, node := range s.nodes() {
		if node != nil {
			node.kill()
		}
	}
}

// plan is the load of the row.
func (s *Scene) plan() *plan.Plan {
	rig := &s.row.Rig
	rate, keys, duration, timeout := rig.Rate, rig.Keys, rig.For, rig.Timeout
	setDefault(&rate, 2000)
	setDefault(&keys, 20)
	setDefault(&duration, 8*time.Second)
	setDefault(&timeout, 5*time.Second)
	p := &plan.Plan{
		Name: s.row.Name, Question: s.row.Must, Seed: 1, Duration: duration, Shape: plan.Constant(limit.Rate{Tokens: int64(rate), Seconds: 1}),
		Keys: plan.Keys{Count: keys, Spread: plan.Turn}, Fresh: true, Timeout: timeout, Limit: &s.limit,
	}
	if s.urls == nil {
		for _, api := range s.apis {
			s.urls = append(s.urls, api.URL)
		}
	}
	for _, url := range s.urls {
		p.Targets = append(p.Targets, plan.Target{Method: "GET", URL: url + "/items"})
	}
	return p
}

func setDefault[T int | time.Duration](setting *T, value T) {
	if *setting == 0 {
		*setting = value
	}
}

// attack offers the load while the acts are done, and gathers the evidence.
func (s *Scene) attack() error {
	p := s.plan()
	writer, err := s.config.Folder.Records(p.Name)
	if err != nil {
		return err //nolint:wrapcheck // it names the folder
	}
	ctx, cancel := context.WithCancelCause(s.ctx)
	defer cancel(nil)
	var beside sync.WaitGroup
	stopSampling := make(chan struct{})
	beside.Go(func() { s.sample(stopSampling) })
	s.begin = time.Now()
	beside.Go(func() {
		if err := s.act(ctx); err != nil {
			cancel(err)
		}
	})
	s.done, err = attack.Run(ctx, p, attack.Config{Sink: writer.Append})
	close(stopSampling)
	beside.Wait()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if err := errors.Join(err, writer.Close(), s.config.Folder.PutAttack(s.done)); err != nil {
		return err
	}
	s.records, err = readAll(s.config.Folder.AttackDir(p.Name))
	return err
}

// act does the acts, each at its time.
func (s *Scene) act(ctx context.Context) error {
	for _, act := range s.row.Acts {
		select {
		case <-time.After(time.Until(s.begin.Add(act.At))):
		case <-ctx.Done():
			return nil
		}
		began := time.Now()
		if err := act.Do(s); err != nil {
			return fmt.Errorf("%s: %w", act.Name, err)
		}
		s.mu.Lock()
		s.spans[act.Name] = span{began, time.Now()}
		s.mu.Unlock()
	}
	return nil
}

func readAll(dir string) ([]record.Record, error) {
	reader, err := record.Open(dir)
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the folder
	}
	defer reader.Close()
	var all []record.Record
	for batch := range reader.Batches() {
		all = append(all, batch...)
	}
	return all, reader.Err() //nolint:wrapcheck // it names the segment
}

// judged has the judge look at some of the records, all when keep is nil, under a limit.
func (s *Scene) judged(l limit.Limit, keep func(*record.Record) bool) (*judge.Verdict, error) {
	options := judge.OptionsOf(&s.done)
	options.Limit = l
	if keep != nil {
		options.Incomplete, options.Counts = true, nil
	}
	j, err := judge.New(options)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says judge
	}
	kept := s.records
	if keep != nil {
		kept = slices.DeleteFunc(slices.Clone(kept), func(r record.Record) bool { return !keep(&r) })
	}
	if err := j.Add(kept); err != nil {
		return nil, err //nolint:wrapcheck // it says judge
	}
	return j.Verdict(), nil
}

// logs is what all API processes have said.
func (s *Scene) logs() []string {
	var lines []string
	for _, api := range slices.Concat(s.gone, s.apis) {
		lines = append(lines, logOf(api)...)
	}
	return lines
}

func logOf(api *stack.API) []string {
	text, err := os.ReadFile(api.Process().Log())
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// said counts the lines of the log that hold all the words.
func (s *Scene) said(words ...string) int {
	n := 0
	for _, line := range s.logs() {
		if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) }) {
			n++
		}
	}
	return n
}

// heldUp is the longest time in which the load sent nothing: a machine that holds
// up the load may hold up what is tested as well.
func (s *Scene) heldUp() time.Duration {
	sent := make([]int64, len(s.records))
	for i := range s.records {
		sent[i] = s.records[i].Sent
	}
	slices.Sort(sent)
	longest := int64(0)
	for i := 1; i < len(sent); i++ {
		longest = max(longest, sent[i]-sent[i-1])
	}
	return time.Duration(longest)
}
