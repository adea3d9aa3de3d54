// Weir load-tests a rate-limited HTTP API, proves whether its limit held, and
// reports what the limiter costs.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first Ctrl-C stops the work and keeps what was done. After it the
	// default handling is back, so a second one ends the program at once.
	go func() { <-ctx.Done(); stop() }()
	os.Exit(execute(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
