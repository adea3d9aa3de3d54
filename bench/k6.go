package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"weir/bench/plan"
	"weir/bench/progress"
	"weir/bench/run"
	"weir/bench/stack"
)

const k6Engine = "k6"

// k6's exit codes that are no failure of k6.
const (
	k6Missed  = 99  // a threshold was missed
	k6Stopped = 105 // it was asked to stop
)

// A k6Program is k6 with weir's output, and the folder of its scenarios.
type k6Program struct{ binary, scenarios string }

// findK6 looks beside weir, and in bin/ for a weir started by go run; nil when
// there is none.
func findK6() *k6Program {
	dirs := []string{"bin"}
	if self, err := os.Executable(); err == nil {
		dirs = []string{filepath.Dir(self), "bin"}
	}
	for _, dir := range dirs {
		dir, err := filepath.Abs(dir)
		if err != nil {
			continue
		}
		found := &k6Program{filepath.Join(dir, "k6"), filepath.Join(dir, "..", "k6", "scenarios")}
		if isThere(found.binary) && isThere(found.scenarios) {
			return found
		}
	}
	return nil
}

// questions are the scenarios of k6 and what each asks, from the first line of
// its file: "// soak — does the limit drift over time?".
func (k *k6Program) questions() (map[string]string, error) {
	files, err := filepath.Glob(filepath.Join(k.scenarios, "*.js"))
	if err != nil {
		return nil, fmt.Errorf("list k6 scenarios: %w", err)
	}
	asked := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read k6 scenario: %w", err)
		}
		first, _, _ := strings.Cut(string(text), "\n")
		_, question, _ := strings.Cut(first, " — ")
		asked[strings.TrimSuffix(filepath.Base(file), ".js")] = question
	}
	return asked, nil
}

func isThere(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// offerByK6 has k6 carry out a plan by its scenario. Output and summary of k6
// go to the logs of the run.
func (s *suite) offerByK6(ctx context.Context, entry *plan.Entry, p *plan.Plan, base string, bar *progress.Bar) (run.Attack, error) {
	done := run.Attack{Plan: *p, Engine: k6Engine, Started: time.Now()}
	if err := s.folder.PutAttack(done); err != nil {
		return done, err
	}
	logs, err := filepath.Abs(filepath.Join(s.folder.Path, "logs"))
	if err != nil {
		return done, err
	}
	records, err := filepath.Abs(s.folder.AttackDir(p.Name))
	if err != nil {
		return done, err
	}
	summary := filepath.Join(logs, p.Name+".json")
	//nolint:noctx // watch asks it to stop, and it then writes what it has
	cmd := exec.Command(s.k6.binary, "run", "--quiet", "--no-color", "--no-usage-report", "--address", "",
		"--out", "weir="+records, filepath.Join(s.k6.scenarios, entry.Scenario+".js"))
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"),
		"BASE_URL=" + base, "TARGET_PATH=" + entry.Paths[0], "LIMIT=" + p.Limit.String(),
		"KEY_PREFIX=" + p.Name + "-", "SUMMARY_JSON=" + summary,
	}
	if p.Duration > 0 {
		cmd.Env = append(cmd.Env, "DURATION="+p.Duration.String())
	}
	process, err := stack.StartLogged(cmd, logs, p.Name)
	if err != nil {
		return done, err
	}
	err = watch(ctx, process, p.Duration, bar)
	done.Ended = time.Now()
	return done, errors.Join(s.judgeExit(ctx, &done, process.Log(), err), s.countK6(&done, summary))
}

// watch waits for the end of k6 and shows how far it should be. When ctx is
// done it asks k6 to stop and waits on.
func watch(ctx context.Context, process *stack.Process, duration time.Duration, bar *progress.Bar) error {
	started := time.Now()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	interrupt := ctx.Done()
	for {
		select {
		case <-process.Done():
			return process.Wait()
		case <-interrupt:
			interrupt = nil // a closed channel would be chosen forever
			process.Signal(os.Interrupt)
		case <-tick.C:
			elapsed := time.Since(started)
			if duration > 0 {
				elapsed = min(elapsed, duration)
			}
			bar.Set(elapsed.Milliseconds(), elapsed.Round(time.Second).String()+" by k6")
		}
	}
}

// judgeExit tells a missed threshold and a stop that was asked for from a
// failure of k6.
func (s *suite) judgeExit(ctx context.Context, done *run.Attack, log string, err error) error {
	exit := (*exec.ExitError)(nil)
	switch {
	case ctx.Err() != nil:
		done.Error = "interrupted"
		return context.Cause(ctx)
	case err == nil:
		return nil
	case errors.As(err, &exit) && exit.ExitCode() == k6Missed:
		missed, err := missedThresholds(log)
		if err != nil {
			return err
		}
		note := done.Plan.Name + ": " + strings.Join(missed, ", ")
		s.missed = append(s.missed, note)
		return s.folder.Update(func(m *run.Manifest) { m.Notes = append(m.Notes, "k6 missed a threshold in "+note) })
	default:
		return fmt.Errorf("k6 failed: %w (see %s)", err, log)
	}
}

// missedThresholds reads them from what the scenarios print at their end (k6/lib/summary.js).
func missedThresholds(log string) ([]string, error) {
	file, err := os.Open(log)
	if err != nil {
		return nil, fmt.Errorf("read k6's log: %w", err)
	}
	defer file.Close()
	var missed []string
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if threshold, found := strings.CutPrefix(strings.TrimSpace(lines.Text()), "FAIL  "); found {
			missed = append(missed, threshold)
		}
	}
	return missed, lines.Err()
}

// countK6 fills in the counts: k6 plans iterations and not requests, so what was
// planned is what was sent and what k6 says it had to drop.
func (s *suite) countK6(done *run.Attack, summary string) error {
	n, err := countRecords(s.folder, done.Plan.Name)
	if err != nil {
		return err
	}
	if n.total > 0 {
		done.Started = time.Unix(0, n.first)
	}
	dropped, err := droppedByK6(summary)
	if err != nil {
		return err
	}
	done.Counts = run.Counts{Planned: n.total + dropped, Dropped: dropped, Sent: n.total, Done: n.total}
	return nil
}

// droppedByK6 reads from k6's summary how many iterations found no free user.
func droppedByK6(path string) (int64, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil // a scenario that was stopped writes none
	}
	if err != nil {
		return 0, fmt.Errorf("read k6's summary: %w", err)
	}
	var summary struct {
		Metrics map[string]struct {
			Values struct {
				Count float64 `json:"count"`
			} `json:"values"`
		} `json:"metrics"`
	}
	if err := json.Unmarshal(text, &summary); err != nil {
		return 0, fmt.Errorf("read k6's summary %s: %w", path, err)
	}
	return int64(summary.Metrics["dropped_iterations"].Values.Count), nil
}
