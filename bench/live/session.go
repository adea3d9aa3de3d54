package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"weir/bench/attack"
	"weir/bench/plan"
	"weir/bench/progress"
	"weir/bench/record"
	"weir/bench/report"
	"weir/bench/run"
)

// Phases of an attack.
const (
	phaseIdle     = "idle"
	phaseRunning  = "running"
	phaseStopping = "stopping"
	phaseJudging  = "judging"
	phaseDone     = "done"
)

// tickEvery is how often the page is told what is new.
const tickEvery = 250 * time.Millisecond

// State is where the attack stands.
type State struct {
	Phase    string     `json:"phase"`
	Run      string     `json:"run"` // name of its folder
	Form     Form       `json:"form"`
	Load     string     `json:"load"`      // the shape, or the k6 scenario
	Edit     string     `json:"edit"`      // what may be edited: "rate", "users" or nothing
	At       float64    `json:"at"`        // the rate or the users that were last asked for
	Started  time.Time  `json:"started"`   // history counts from here
	Elapsed  float64    `json:"elapsed"`   // s
	Duration float64    `json:"duration"`  // s, planned
	LimitAll float64    `json:"limit_all"` // what the limit refills for all keys together, tokens a second; 0 without a limit
	Counts   run.Counts `json:"counts"`
	Edits    []Edit     `json:"edits"`
	Error    string     `json:"error"` // why it failed or ended early
	Reset    int        `json:"reset"` // how often the statistics were cleared
}

// An Edit is a change of the load while the attack ran.
type Edit struct {
	At   float64 `json:"at_s"` // after the start
	What string  `json:"what"` // e.g. "200/s within 5s"
}

// A session carries out attacks, one at a time.
type session struct {
	ctx    context.Context //nolint:containedctx // of the server: attacks outlive the requests that start them
	config *Config
	hub    *hub

	mu      sync.Mutex
	state   State
	meter   *meter
	bench   *bench
	verdict *Verdict
	dial    *attack.Dial
	plan    *plan.Plan
	stop    context.CancelFunc // nil unless an attack runs
	stopped bool               // by a person
	closing bool               // weir is being stopped
	ended   chan struct{}      // closed when the attack and its judging are over
}

func newSession(ctx context.Context, config *Config, hub *hub) *session {
	s := &session{ctx: ctx, config: config, hub: hub, ended: make(chan struct{})}
	close(s.ended)
	s.state = State{Phase: phaseIdle, Form: config.Start, Edits: []Edit{}}
	return s
}

var errBusy = &httpError{http.StatusConflict, errors.New("an attack is running: stop it first")}

// start checks the form and starts its attack.
func (s *session) start(ctx context.Context, form *Form) error {
	p, ramp, err := form.plan(s.config)
	if err != nil {
		return err
	}
	remote, err := allowed(ctx, p, s.config.Targets)
	if err != nil {
		return err
	}
	if err := attack.Reach(ctx, p); err != nil {
		return &fieldError{"targets", err}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop != nil {
		return errBusy
	}
	if s.closing {
		return &httpError{http.StatusServiceUnavailable, errors.New("weir is stopping")}
	}
	folder, err := run.Create(s.config.Results, p.Name, s.config.Commit, time.Now())
	if err != nil {
		return err
	}
	err = folder.Update(func(m *run.Manifest) {
		m.Seed, m.Store, m.Notes = p.Seed, s.config.Store, slices.Clone(s.config.Notes)
		m.Command = commandOf(form, p, ramp)
	})
	if err != nil {
		return err
	}
	s.begin(form, p, folder)
	attackCtx, stop := context.WithCancel(s.ctx)
	s.stop, s.stopped, s.ended = stop, false, make(chan struct{})
	if ramp > 0 && form.Scenario == "" {
		s.ramp(attackCtx, ramp) //nolint:contextcheck // the attack outlives the request that starts it
	}
	go s.carryOut(attackCtx, folder, p, form, remote) //nolint:contextcheck // as above
	go s.tick(s.ended)
	s.hub.publish("start", s.locked())
	return nil
}

// begin makes the state of a new attack. The lock is held.
func (s *session) begin(form *Form, p *plan.Plan, folder *run.Folder) {
	now := time.Now()
	s.plan, s.verdict, s.bench = p, nil, nil
	s.dial = &attack.Dial{MaxUsers: s.config.MaxUsers, Ceiling: s.config.MaxRate}
	s.state = State{
		Phase: phaseRunning, Run: folder.Name(), Form: *form, Load: p.Shape.String(), Started: now,
		Duration: p.Duration.Seconds(), Edits: []Edit{}, At: p.Shape.Rate(0, p.Duration), Edit: "rate",
	}
	if p.Shape.Closed() {
		s.state.Edit, s.state.At = "users", float64(p.MaxWorkers())
	}
	if form.Scenario != "" {
		s.state.Load, s.state.Edit = "k6 "+form.Scenario, ""
	}
	if p.Limit != nil {
		s.bench = &bench{limit: *p.Limit, plan: p.Name}
		s.state.LimitAll = p.Limit.Rate.PerSecond() * float64(max(p.Keys.Count, 1))
	}
	s.meter = s.newMeter(now)
}

func (s *session) newMeter(start time.Time) *meter {
	dial, p, k6 := s.dial, s.plan, s.state.Form.Scenario != ""
	m := newMeter(start.UnixNano(), func(at time.Duration) (rate, users float64) {
		if k6 {
			return nan, nan
		}
		return planned(p, dial.Rate(p, at), dial.Now(p))
	})
	if k6 {
		m.history.settle = settleK6
	}
	return m
}

// ramp has the load grow from nothing. The lock is held.
func (s *session) ramp(ctx context.Context, over time.Duration) {
	if !s.plan.Shape.Closed() {
		s.dial.Turn(s.plan.Shape.Peak(), over)
		return
	}
	users := s.plan.MaxWorkers()
	s.dial.Users(1)
	dial := s.dial
	go func() {
		begun, tick := time.Now(), time.NewTicker(max(over/time.Duration(users), 20*time.Millisecond))
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			s.mu.Lock()
			edited := len(s.state.Edits) > 0 // from then on the person says how many
			s.mu.Unlock()
			share := min(float64(time.Since(begun))/float64(over), 1)
			if edited {
				return
			}
			dial.Users(max(1, int(share*float64(users))))
			if share == 1 {
				return
			}
		}
	}()
}

// carryOut offers the plan, and judges and reports what was recorded.
func (s *session) carryOut(ctx context.Context, folder *run.Folder, p *plan.Plan, form *Form, remote bool) {
	var done run.Attack
	var err error
	if form.Scenario == "" {
		done, err = s.offer(ctx, folder, p, remote)
	} else {
		done, err = s.offerK6(ctx, folder, p, form.Scenario)
	}
	s.mu.Lock()
	stopped := s.stopped || errors.Is(err, context.Canceled)
	if stopped {
		done.Error, err = "stopped by a person after "+time.Since(s.state.Started).Round(100*time.Millisecond).String(), nil
		if s.closing {
			done.Error = "interrupted: weir was stopped"
		}
	}
	closing := s.closing
	edits := slices.Clone(s.state.Edits)
	s.state.Phase, s.state.Counts, s.state.Edit = phaseJudging, done.Counts, ""
	s.state.Elapsed = time.Since(s.state.Started).Seconds()
	s.mu.Unlock()
	s.publishState()
	err = errors.Join(err, folder.PutAttack(done), folder.Update(func(m *run.Manifest) {
		m.Ended, m.Interrupted = time.Now(), closing
		for _, e := range edits {
			m.Notes = append(m.Notes, fmt.Sprintf("%s: load edited %.1f s after the start: %s", p.Name, e.At, e.What))
		}
	}))
	verdict, conclusion := conclude(folder, &done) //nolint:contextcheck // the report is written even when weir is being stopped
	s.end(verdict, errors.Join(err, conclusion), done.Error)
}

// offer offers the plan with weir's own attack.
func (s *session) offer(ctx context.Context, folder *run.Folder, p *plan.Plan, remote bool) (done run.Attack, err error) {
	records, err := folder.Records(p.Name)
	begun := run.Attack{Plan: *p, Engine: attack.Engine, Started: time.Now()}
	if err == nil {
		err = folder.PutAttack(begun)
	}
	if err != nil {
		return begun, err
	}
	done, err = attack.Run(ctx, p, attack.Config{
		AllowRemote: remote, Dial: s.dial,
		Sink: func(batch []record.Record) error {
			if err := records.Append(batch); err != nil {
				return err
			}
			s.current().add(batch)
			return nil
		},
		Progress: func(at attack.Progress) {
			s.mu.Lock()
			s.state.Counts = at.Counts
			s.mu.Unlock()
		},
	})
	return done, errors.Join(err, records.Close())
}

// offerK6 has k6 offer the plan, and reads along the records that it writes.
func (s *session) offerK6(ctx context.Context, folder *run.Folder, p *plan.Plan, scenario string) (run.Attack, error) {
	base, path, err := split(p.Targets[0].URL)
	if err != nil {
		return run.Attack{Plan: *p}, err
	}
	over := make(chan struct{})
	read := make(chan error, 1)
	go func() { read <- tail(folder.AttackDir(p.Name), over, s.add) }()
	done, err := s.config.OfferK6(ctx, folder, scenario, p, base, path)
	close(over)
	return done, errors.Join(err, <-read)
}

func (s *session) add(batch []record.Record) { s.current().add(batch) }

func (s *session) current() *meter {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.meter
}

// conclude judges a run and writes its report.
func conclude(folder *run.Folder, done *run.Attack) (*Verdict, error) {
	var verdict *Verdict
	if done.Plan.Limit != nil {
		v, err := judgeAll(folder, done)
		if errors.Is(err, record.ErrNoSegment) {
			return nil, nil //nolint:nilnil // nothing was recorded, so there is nothing to judge
		}
		if err != nil {
			return nil, err
		}
		verdict = v
	}
	verdicts, err := report.Verdicts(folder)
	if err != nil {
		return verdict, err
	}
	bar := progress.Start(io.Discard, "", 0)
	defer bar.Done()
	// The report is written even when weir is being stopped: it takes a moment.
	_, err = report.Write(context.Background(), folder, verdicts, bar)
	if errors.Is(err, report.ErrNoRecords) || errors.Is(err, record.ErrNoSegment) {
		err = nil
	}
	return verdict, err
}

func (s *session) end(verdict *Verdict, err error, early string) {
	s.mu.Lock()
	s.state.Phase, s.state.Error = phaseDone, early
	if err != nil {
		s.state.Error = err.Error()
	}
	if verdict != nil {
		s.verdict = verdict
	}
	s.stop()
	s.stop = nil
	close(s.ended)
	m := s.meter
	s.mu.Unlock()
	m.mu.Lock()
	m.history.finish()
	m.mu.Unlock()
	s.publishTick(m)
	s.publishTables(m)
	s.publishState()
	s.hub.publish("verdict", s.shownVerdict())
	s.hub.publish("runs", struct{}{})
}

// tick tells the page what is new until the attack has ended.
func (s *session) tick(ended <-chan struct{}) {
	ticks := time.NewTicker(tickEvery)
	defer ticks.Stop()
	judged := time.Now()
	for n := 1; ; n++ {
		select {
		case <-ended:
			return
		case now := <-ticks.C:
			m := s.current()
			if m == nil { // it has just ended, and was taken off the page
				return
			}
			m.mu.Lock()
			m.history.advance(now.UnixNano())
			m.mu.Unlock()
			s.publishTick(m)
			if n%4 == 0 {
				s.publishTables(m)
			}
			if now.Sub(judged) >= judgeEvery {
				s.judge(m)
				judged = time.Now()
			}
		}
	}
}

// judge gives the running verdict.
func (s *session) judge(m *meter) {
	s.mu.Lock()
	b, running := s.bench, s.state.Phase == phaseRunning || s.state.Phase == phaseStopping
	s.mu.Unlock()
	if b == nil || !running {
		return
	}
	verdict, err := b.judge(m.latest())
	if err != nil {
		s.config.Log.Error("judge", "error", err)
		return
	}
	s.mu.Lock()
	s.verdict = verdict
	s.mu.Unlock()
	s.hub.publish("verdict", verdict)
}

// close stops the running attack and waits for its end.
func (s *session) close() {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	_ = s.halt() // nothing runs, or it is ending already
	s.mu.Lock()
	ended := s.ended
	s.mu.Unlock()
	<-ended
}

func (s *session) publishTick(m *meter) {
	m.mu.Lock()
	fresh := m.history.take()
	m.mu.Unlock()
	s.mu.Lock()
	state := s.locked()
	s.mu.Unlock()
	s.hub.publish("tick", struct {
		Rows    [rings][]report.Column `json:"rows"`
		Elapsed float64                `json:"elapsed"`
		Counts  run.Counts             `json:"counts"`
	}{fresh, state.Elapsed, state.Counts})
}

func (s *session) publishTables(m *meter) { s.hub.publish("tables", m.tables(time.Now().UnixNano())) }
func (s *session) publishState()          { s.hub.publish("state", s.now()) }

func (s *session) shownVerdict() *Verdict {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.verdict
}

func (s *session) now() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.locked()
}

// locked is the state as it stands. The lock is held.
func (s *session) locked() State {
	state := s.state
	state.Edits = slices.Clone(state.Edits)
	if state.Phase == phaseRunning || state.Phase == phaseStopping {
		state.Elapsed = time.Since(state.Started).Seconds()
	}
	return state
}
