package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// stopGrace is how long a process may take to end after it was asked to.
const stopGrace = 10 * time.Second

// pollEvery is how often a starting process is asked whether it is ready.
const pollEvery = 10 * time.Millisecond

var errPortTaken = errors.New("port taken")

// A Process is a child that does not outlive weir: see the package comment.
type Process struct {
	cmd    *exec.Cmd
	log    string // see Log
	done   chan struct{}
	result error // of Wait; read after done is closed
}

// StartProcess starts cmd as a [Process].
func StartProcess(cmd *exec.Cmd) (*Process, error) {
	diesWithParent(cmd)
	p := &Process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	// The kernel ties the child's life to the thread that started it, not to the
	// process; so this thread must live as long as the child.
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.result = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(cmd.Path), err)
	}
	return p, nil
}

// StartLogged starts cmd in dir with both outputs in dir/<name>.log.
func StartLogged(cmd *exec.Cmd, dir, name string) (*Process, error) {
	path := filepath.Join(dir, name+".log")
	log, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	defer log.Close() // the child has its own descriptor
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	p, err := StartProcess(cmd)
	if err != nil {
		return nil, err
	}
	p.log = path
	return p, nil
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Pid is the process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Wait waits for the end and returns what [exec.Cmd.Wait] does.
func (p *Process) Wait() error {
	<-p.done
	return p.result
}

// Signal sends sig. A process that has ended is not an error.
func (p *Process) Signal(sig os.Signal) {
	_ = p.cmd.Process.Signal(sig) // ErrProcessDone, or nobody left to tell
}

// Stop asks the process to end, kills it when it takes more than 10 s, and
// returns when it has ended. It may be called more than once.
func (p *Process) Stop() {
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopGrace):
		_ = p.cmd.Process.Kill() // as in Signal
		<-p.done
	}
}

// waitReady polls ready until it returns nil. When the process ends, ctx is
// done or readyWithin has passed before that, it stops the process and says why,
// with the end of its log.
func (p *Process) waitReady(ctx context.Context, ready func(context.Context) error) (err error) {
	defer func() {
		if err != nil {
			p.Stop()
		}
	}()
	name := filepath.Base(p.cmd.Path)
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	var last error
	for {
		// An answer counts only from a process that lives: it may come from
		// whoever took the port.
		if err := ready(ctx); err == nil && !p.ended() {
			return nil
		} else if ctx.Err() == nil {
			last = err
		}
		select {
		case <-p.done:
			tail := p.logTail()
			if bytes.Contains(tail, []byte("ddress already in use")) {
				return fmt.Errorf("%s: %w: %s", name, errPortTaken, tail)
			}
			return fmt.Errorf("%s ended before it was ready (%w): %s", name, p.result, tail)
		case <-ctx.Done():
			if cause := context.Cause(ctx); !errors.Is(cause, context.DeadlineExceeded) {
				return fmt.Errorf("%s: %w", name, cause)
			}
			return fmt.Errorf("%s was not ready within %s (%w); its log is %s", name, readyWithin, last, p.log)
		case <-poll.C:
		}
	}
}

func (p *Process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Log is the file of the outputs; "" when the caller took them.
func (p *Process) Log() string { return p.log }

// logTail is the last line or so of the log.
func (p *Process) logTail() []byte {
	const most = 500
	text, err := os.ReadFile(p.log)
	if err != nil {
		return []byte(err.Error())
	}
	text = bytes.TrimSpace(text)
	if len(text) > most {
		text = text[len(text)-most:]
		if _, rest, found := bytes.Cut(text, []byte("\n")); found {
			text = rest
		}
	}
	return text
}
