package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// Exit codes, the same for every command.
const (
	exitOK           = 0
	exitFailed       = 1 // weir itself failed
	exitUsage        = 2 // the command line or its input is wrong
	exitFellShort    = 3 // what was tested fell short: a limit broken, a threshold missed
	exitInconclusive = 4 // the evidence does not tell
)

// An exitError ends a command with a code other than exitFailed.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// usageError says that the caller can fix the command line.
func usageError(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// execute is the program: it reads nothing but its arguments and returns the exit
// code. Data goes to stdout, everything told to a person to stderr.
func execute(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRootCommand() //nolint:contextcheck // a command has its context from cobra, when it runs
	// Cobra checks the command line before any PreRun: an error by then is misuse.
	understood := false
	root.PersistentPreRun = func(*cobra.Command, []string) { understood = true }
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(stderr, "weir:", err)
	if exit := (*exitError)(nil); errors.As(err, &exit) {
		return exit.code
	}
	if !understood {
		return exitUsage
	}
	return exitFailed
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "weir",
		Short: "Load-test a rate-limited HTTP API and prove whether its limit held",
		Long: `weir load-tests a rate-limited HTTP API, proves whether its limit held, and reports what the limiter costs.

Exit codes: 0 fine · 1 weir failed · 2 wrong usage · 3 what was tested fell short · 4 inconclusive`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w (see %s --help)", err, cmd.CommandPath())
	})
	root.AddCommand(
		newReportCommand(),
		newRunCommand(),
		newAttackCommand(),
		newVersionCommand(),
		newLiveCommand(),
		newCheckCommand(),
		newExportCommand(),
		newImportCommand(),
		newIdentifyCommand(),
		newFaultsCommand(),
	)
	return root
}
