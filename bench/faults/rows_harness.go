package faults

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"weir/bench/record"
	"weir/bench/run"
	"weir/bench/stack"
)

// harnessRows break weir itself, and what it attacks.
func harnessRows() []Row {
	rig := Rig{Limit: overloaded}
	return []Row{
		{
			Name: "harness-killed", Fault: "weir attack is killed (−9) in the middle of an attack",
			Must: "every record up to the last second is readable; check and report make do with what there is",
			Rig:  rig, Do: harnessKilled,
		},
		{
			Name: "harness-disk-full", Fault: "the disk of the results fills up during an attack (a file system of 192 kB)",
			Must: "one clear message, exit code 1, and what was kept can be judged",
			Rig:  rig, Do: diskFull,
		},
		{
			Name: "harness-read-only", Fault: "the results folder is read-only",
			Must: "said before any load is sent, exit code 1",
			Rig:  rig, Do: readOnly,
		},
		{
			Name: "target-dies", Fault: "the target is killed (−9) in the middle of an attack",
			Must: "the attack ends in time; the report is made; nobody is accused",
			Rig:  rig, Do: targetFails(func(s *Scene) { s.apis[0].Process().Signal(syscall.SIGKILL) }, "connection"),
		},
		{
			Name: "target-hangs", Fault: "the target is stopped (SIGSTOP) in the middle of an attack",
			Must: "the attack ends in time by its timeouts; the report is made; nobody is accused",
			Rig:  rig, Do: targetFails(func(s *Scene) { s.apis[0].Process().Signal(syscall.SIGSTOP) }, "timeout"),
		},
		{
			Name: "target-garbage", Fault: "the target answers random bytes",
			Must: "failed requests with a reason, a report, exit code 4",
			Do:   targetGarbage,
		},
	}
}

// An ending is how a weir ended.
type ending struct {
	code           int
	stdout, stderr string
	took           time.Duration
}

// harnessWithin bounds one weir.
const harnessWithin = time.Minute

// weir runs weir in the row's folder and waits for its end.
func (s *Scene) weir(arguments ...string) (ending, error) {
	return s.program(s.config.Weir, arguments...)
}

func (s *Scene) program(path string, arguments ...string) (ending, error) {
	if s.config.Weir == "" {
		return ending{}, errors.New("no weir program was given")
	}
	ctx, cancel := context.WithTimeout(s.ctx, harnessWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, arguments...)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, &stdout, &stderr
	started := time.Now()
	process, err := stack.StartProcess(cmd)
	if err != nil {
		return ending{}, err //nolint:wrapcheck // it says what was started
	}
	_ = process.Wait() // the exit code tells
	return ending{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String(), time.Since(started)}, nil
}

// lastLine is what a person reads last.
func (e *ending) lastLine() string {
	lines := strings.Split(strings.TrimSpace(e.stderr), "\n")
	return lines[len(lines)-1]
}

// attackArguments are those of a weir attack on the row's API.
func (s *Scene) attackArguments(url, duration string) []string {
	return []string{
		"attack", "--target", url + "/items", "--rate", "2000/s", "--duration", duration, "--keys", "20", "--key-spread", "turn",
		"--limit", overloaded, "--fresh", "--timeout", "500ms", "--out", "results",
	}
}

func harnessKilled(s *Scene) error {
	if s.config.Weir == "" {
		return errors.New("no weir program was given")
	}
	cmd := exec.Command(s.config.Weir, s.attackArguments(s.apis[0].URL, "30s")...) //nolint:noctx // killed below
	process, err := stack.StartLogged(cmd, s.dir, "weir")
	if err != nil {
		return err //nolint:wrapcheck // it says what was started
	}
	defer process.Signal(syscall.SIGKILL)
	latest := filepath.Join(s.dir, "results", run.Latest)
	if err := await(s.ctx, "three segments of records", func() bool {
		_, err := os.Stat(filepath.Join(latest, "attack", "000003.parquet"))
		return err == nil
	}); err != nil {
		return err
	}
	time.Sleep(500 * time.Millisecond) // in the middle of a segment
	process.Signal(syscall.SIGKILL)
	_ = process.Wait() // killed, as asked
	killed := time.Now()

	reader, err := record.Open(filepath.Join(latest, "attack"))
	if err != nil {
		return err //nolint:wrapcheck // it names the folder
	}
	defer reader.Close()
	n, last := 0, int64(0)
	for batch := range reader.Batches() {
		for i := range batch {
			n++
			last = max(last, batch[i].Done)
		}
	}
	lost := killed.Sub(time.Unix(0, last))
	s.findings = append(s.findings, found(reader.Err() == nil && len(reader.Damaged()) == 0 && n > 4000 && lost < time.Second+slack+slack,
		"every record up to the last second is readable", "%d records, the last %s before the end, %d damaged segments", n, lost.Round(time.Millisecond), len(reader.Damaged())))
	return s.judgeAgain("results", 0)
}

// judgeAgain wants weir check and weir report to make do with the latest run.
func (s *Scene) judgeAgain(results string, checkCode int) error {
	check, err := s.weir("check", filepath.Join(results, run.Latest))
	if err != nil {
		return err
	}
	report, err := s.weir("report", filepath.Join(results, run.Latest))
	if err != nil {
		return err
	}
	page, _ := os.Stat(filepath.Join(s.dir, results, run.Latest, "report.html"))
	sentence, _, _ := strings.Cut(check.stdout, "\n")
	s.findings = append(s.findings,
		found(check.code == checkCode, fmt.Sprintf("weir check ends with %d", checkCode), "exit code %d: %s", check.code, sentence),
		found(report.code != 1 && report.code != 2 && page != nil && page.Size() > 0, "weir report makes the report", "exit code %d %s", report.code, report.lastLine()))
	return nil
}

// onSmallDisk runs a script of weir's with a file system of its own at ./results.
func (s *Scene) onSmallDisk(options, script string) (ending, error) {
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		return ending{}, cannot("there is no unshare to mount a small file system with")
	}
	if err := os.MkdirAll(filepath.Join(s.dir, "results"), 0o755); err != nil {
		return ending{}, err //nolint:wrapcheck // it names the folder
	}
	arguments := []string{"--mount", "--map-root-user", "sh", "-c", "mount -t tmpfs -o " + options + " none results || exit 77; " + script, "sh", s.config.Weir}
	end, err := s.program(unshare, append(arguments, s.attackArguments(s.apis[0].URL, "20s")...)...)
	if err == nil && (end.code == 77 || strings.HasPrefix(end.stderr, "unshare:")) {
		err = cannot("no file system can be mounted here: %s", end.lastLine())
	}
	return end, err
}

func diskFull(s *Scene) error {
	end, err := s.onSmallDisk("size=192k", `"$@"; code=$?; echo "attack ended with $code"; "$1" check results/latest; echo "check ended with $?"`)
	if err != nil {
		return err
	}
	message := ""
	for line := range strings.Lines(end.stderr) {
		if strings.HasPrefix(line, "weir:") && strings.Contains(line, "no space left") {
			message = strings.TrimSpace(line)
		}
	}
	s.findings = append(s.findings,
		found(strings.Contains(end.stdout, "attack ended with 1") && end.took < 19*time.Second, "the attack ends at once with exit code 1", "after %s", end.took.Round(time.Millisecond)),
		found(message != "" && strings.Contains(message, "results/"), "the message says why, and where the records are", "%s", message),
		found(strings.Contains(end.stdout, "check ended with 0") || strings.Contains(end.stdout, "check ended with 4"), "what was kept can be judged", "weir check: %s", sentenceOf(end.stdout)))
	return nil
}

// sentenceOf is the verdict that weir check has printed among others.
func sentenceOf(stdout string) string {
	for line := range strings.Lines(stdout) {
		if strings.HasPrefix(line, "holds") || strings.HasPrefix(line, "inconclusive") || strings.HasPrefix(line, "broken") {
			return strings.TrimSpace(line)
		}
	}
	return stdout
}

func readOnly(s *Scene) error {
	end, err := s.onSmallDisk("ro", `exec "$@"`)
	if err != nil {
		return err
	}
	charged := scrape(s.ctx, s.apis[0].URL)[`weir_decisions_total{outcome="allowed",route="/items"}`]
	s.findings = append(s.findings,
		found(end.code == 1 && strings.Contains(end.stderr, "read-only file system") && strings.Contains(end.stderr, "--out"), "exit code 1, and the message names the way out", "exit code %d: %s", end.code, end.lastLine()),
		found(charged == 0, "no load was sent", "%.0f requests decided", charged))
	return nil
}

// targetFails harms the target in the middle of an attack.
func targetFails(harm func(*Scene), reason string) func(*Scene) error {
	return func(s *Scene) error {
		timer := time.AfterFunc(2500*time.Millisecond, func() { harm(s) })
		defer timer.Stop()
		end, err := s.weir(s.attackArguments(s.apis[0].URL, "4s")...)
		if err != nil {
			return err
		}
		s.apis[0].Process().Signal(syscall.SIGCONT)
		s.findings = append(s.findings,
			found(end.took < 12*time.Second, "the attack ends in time", "%s", end.took.Round(time.Millisecond)),
			found(end.code == 0 || end.code == 4, "nobody is accused", "exit code %d %s", end.code, end.lastLine()),
			found(strings.Contains(end.stdout, "failed ") && strings.Contains(end.stdout, reason), "the reason is counted", "%s", failures(end.stdout)))
		return s.judgeAgain("results", end.code)
	}
}

// failures are the lines of weir attack that count reasons.
func failures(stdout string) string {
	var lines []string
	for line := range strings.Lines(stdout) {
		if strings.HasPrefix(line, "failed ") && strings.Contains(line, "times") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return strings.Join(lines, "; ")
}

func targetGarbage(s *Scene) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // loopback: returns at once
	if err != nil {
		return err //nolint:wrapcheck // it names the address
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				garbage := make([]byte, 512)
				_, _ = conn.Read(garbage)  // whatever it wants
				_, _ = rand.Read(garbage)  // never fails
				_, _ = conn.Write(garbage) // if it still listens
			}()
		}
	}()
	end, err := s.weir(s.attackArguments("http://"+listener.Addr().String(), "2s")...)
	if err != nil {
		return err
	}
	s.findings = append(s.findings,
		found(end.code == 4, "exit code 4: nothing can be told", "exit code %d %s", end.code, end.lastLine()),
		found(strings.Contains(end.stdout, "malformed") || strings.Contains(end.stdout, "connection lost"), "the reason is counted", "%s", failures(end.stdout)),
		found(len(failures(end.stdout)) < 1000, "reasons do not differ from answer to answer", "%s bytes", strconv.Itoa(len(failures(end.stdout)))))
	return s.judgeAgain("results", 4)
}
