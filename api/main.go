// Weir-api is a rate-limited HTTP API: a token bucket in Redis, or in this
// process, for each client. Its settings are flags, environment variables and a
// .env file; see weir-api --help.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal lets requests in flight finish. After it the default
	// handling is back, so a second one ends the program at once.
	go func() { <-ctx.Done(); stop() }()
	os.Exit(execute(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
