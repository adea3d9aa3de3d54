package output

import (
	"errors"
	"path/filepath"

	"go.k6.io/k6/v2/errext"
	"go.k6.io/k6/v2/errext/exitcodes"
	"go.k6.io/k6/v2/output"
)

// config is where the records go.
type config struct {
	dir  string // the plan's folder in a run, e.g. "results/20261123T181200Z-standard-1a2b3c4/polite"
	plan string // the name of that folder, e.g. "polite"
}

func configFrom(params output.Params) (config, error) {
	if params.ConfigArgument == "" {
		err := errors.New("output weir: no folder given (want --out weir=DIR, the folder is made where it is missing)")
		return config{}, errext.WithExitCodeIfNone(err, exitcodes.InvalidConfig)
	}
	dir, err := filepath.Abs(params.ConfigArgument)
	if err != nil {
		return config{}, err
	}
	return config{dir: dir, plan: filepath.Base(dir)}, nil
}
