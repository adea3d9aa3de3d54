package stack_test

import (
	"bufio"
	"io"
	"net"
	"testing"
	"time"

	"weir/bench/stack"
)

// echo is a server that answers each line with itself, and counts them.
func echo(t *testing.T) (address string, lines chan string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	lines = make(chan string, 16)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for scan := bufio.NewScanner(conn); scan.Scan(); {
					lines <- scan.Text()
					if _, err := io.WriteString(conn, scan.Text()+"\n"); err != nil {
						return
					}
				}
			}()
		}
	}()
	return listener.Addr().String(), lines
}

func TestProxy(t *testing.T) {
	address, lines := echo(t)
	p, err := stack.StartProxy(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	ask := func(text string) (answer string, took time.Duration, err error) {
		conn, err := net.Dial("tcp", p.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		started := time.Now()
		if _, err := io.WriteString(conn, text+"\n"); err != nil {
			return "", 0, err
		}
		answer, err = bufio.NewReader(conn).ReadString('\n')
		return answer, time.Since(started), err
	}

	for _, test := range []struct {
		name    string
		trouble stack.Trouble
		answer  string
		least   time.Duration
		served  bool
	}{
		{"none", stack.Trouble{}, "hello\n", 0, true},
		{"delay", stack.Trouble{Delay: 30 * time.Millisecond}, "hello\n", 30 * time.Millisecond, true},
		{"drip", stack.Trouble{Drip: 10 * time.Millisecond}, "hello\n", 50 * time.Millisecond, true},
		{"lose", stack.Trouble{Lose: "ell"}, "", 0, true},
		{"lose others", stack.Trouble{Lose: "evalsha"}, "hello\n", 0, true},
		{"say", stack.Trouble{Say: "-DENIED\n"}, "-DENIED\n", 0, true},
		{"healed", stack.Trouble{}, "hello\n", 0, true},
	} {
		p.Set(test.trouble)
		answer, took, err := ask("hello")
		if answer != test.answer || took < test.least || (err != nil) != (test.answer == "") {
			t.Errorf("%s: answer %q in %s (%v), want %q in at least %s", test.name, answer, took, err, test.answer, test.least)
		}
		if got := <-lines; got != "hello" {
			t.Errorf("%s: the server read %q: a request is passed on whatever becomes of the answer", test.name, got)
		}
	}
	if p.Lost() != 1 {
		t.Errorf("lost %d answers, want 1", p.Lost())
	}
}

// What is stalled goes on where it was; nothing is lost.
func TestProxyStall(t *testing.T) {
	address, lines := echo(t)
	p, err := stack.StartProxy(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	p.Set(stack.Trouble{Stall: true})
	conn, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); err == nil || len(lines) > 0 {
		t.Fatalf("read %d bytes, the server read %d lines, want nothing either way", n, len(lines))
	}
	p.Set(stack.Trouble{})
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if answer, err := bufio.NewReader(conn).ReadString('\n'); answer != "hello\n" {
		t.Errorf("answer %q (%v), want hello", answer, err)
	}
}

// Cut ends what is open, Close also what is stalled.
func TestProxyCutAndClose(t *testing.T) {
	address, _ := echo(t)
	p, err := stack.StartProxy(address)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	p.Cut()
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("a connection that was cut still reads")
	}
	p.Set(stack.Trouble{Stall: true})
	stalled, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer stalled.Close()
	if _, err := io.WriteString(stalled, "hello\n"); err != nil {
		t.Fatal(err)
	}
	p.Close()
	if _, err := net.Dial("tcp", p.Addr()); err == nil {
		t.Error("a closed proxy still takes connections")
	}
}
