package stack

import (
	"os/exec"
	"syscall"
)

// diesWithParent has the kernel kill the child when the thread that starts it
// ends, and gives it a process group of its own, out of reach of the terminal's
// Ctrl-C.
func diesWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
