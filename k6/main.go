// Command k6 is k6 with one output more: --out weir=DIR writes each request as a
// record, the same that weir attack writes.
//
// k6 is AGPL-3.0, and so is this program as built. It is a module of its own, and
// weir runs it as a separate program: see README.md.
package main

import (
	"fmt"
	"os"

	"go.k6.io/k6/v2/cmd"
	k6output "go.k6.io/k6/v2/output"

	"weir/k6/output"
)

// quiet are settings of k6 that would reach beyond the target: reporting usage to
// its makers, and fetching another k6 for a script that imports an extension.
// They hold unless the environment says otherwise.
var quiet = map[string]string{
	"K6_NO_USAGE_REPORT":           "true",
	"K6_AUTO_EXTENSION_RESOLUTION": "false",
}

func main() {
	for name, value := range quiet {
		if _, set := os.LookupEnv(name); set {
			continue
		}
		if err := os.Setenv(name, value); err != nil {
			fmt.Fprintf(os.Stderr, "k6: set %s: %v\n", name, err)
			os.Exit(1)
		}
	}
	k6output.RegisterExtension("weir", output.New)
	cmd.Execute()
}
