//go:build !linux

package stack

import "os/exec"

// diesWithParent does nothing: only Linux ties a child's life to its parent's.
// Elsewhere a weir that is killed leaves its children behind.
func diesWithParent(*exec.Cmd) {}
