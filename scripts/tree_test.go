// Package scripts_test checks the rules of the tree: what stands at the top,
// which way the arrows point, that packages are documented, that links lead
// somewhere, and that what the README shows can be run.
package scripts_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"weir/api/limit/limittest"
)

// root is the top of the tree.
const root = ".."

// topLevel is all that may stand at the top beside dotfiles.
var topLevel = []string{
	"LICENSE", "Makefile", "README.md", "api", "bench", "go.mod", "go.sum", "k6", "lua", "results", "scripts",
}

func git(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("git %s: %v (these rules are about a checkout)", strings.Join(args, " "), err)
	}
	return strings.Fields(string(out))
}

// files are the files of the tree that git tracks or would track.
func files(t *testing.T) []string {
	t.Helper()
	return git(t, "ls-files", "-co", "--exclude-standard", "--deduplicate")
}

func TestTopLevel(t *testing.T) {
	t.Parallel()
	for _, file := range files(t) {
		top, _, _ := strings.Cut(file, "/")
		if !strings.HasPrefix(top, ".") && !slices.Contains(topLevel, top) {
			t.Errorf("%s stands at the top level; want only %s and dotfiles", top, strings.Join(topLevel, " "))
		}
	}
}

// goPackage is what `go list -json` says of a package.
type goPackage struct {
	ImportPath, Doc, Name string
	GoFiles, Deps         []string
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Doc,Name,GoFiles,Deps", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var list []goPackage
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

func TestPackagesAreDocumented(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		if len(p.GoFiles) > 0 && p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
		if p.Name == "util" || p.Name == "common" || p.Name == "helpers" {
			t.Errorf("%s is named for nothing: name it for what it does", p.ImportPath)
		}
	}
}

// TestArrows holds the direction of the dependencies: programs → adapters →
// words, and bench meets the API over HTTP only.
func TestArrows(t *testing.T) {
	t.Parallel()
	rules := []struct{ name, from, forbidden, why string }{
		{"limit is pure", `^weir/api/limit$`, `^weir/|^net/http$|go-redis`, "the words depend on nothing"},
		{"the API does not know the harness", `^weir/api(/|$)`, `^weir/bench`, "it is what is tested"},
		{"the harness shares only the words with the API", `^weir/bench`, `^weir/api$|^weir/api/server|^weir/api/limit/(redis|guard)`, "it meets the API over HTTP"},
		{"records stand alone", `^weir/bench/record$`, `^weir/bench/(attack|judge|stats|report|stack|run|live)`, "records are the interface"},
		{"the judge reads records only", `^weir/bench/judge$`, `^weir/bench/(attack|report|stack|live)`, "a verdict comes from evidence on disk"},
		{"no AGPL in weir", `^weir/`, `^go\.k6\.io`, "k6 is a separate program"},
	}
	for _, p := range packages(t) {
		for _, rule := range rules {
			if !regexp.MustCompile(rule.from).MatchString(p.ImportPath) {
				continue
			}
			for _, dep := range p.Deps {
				if dep != p.ImportPath && regexp.MustCompile(rule.forbidden).MatchString(dep) {
					t.Errorf("%s depends on %s; %s: %s", p.ImportPath, dep, rule.name, rule.why)
				}
			}
		}
	}
}

func TestGoModHasNoReplace(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "replace ") {
		t.Error("go.mod has a replace directive; only the nested modules may, for weir itself")
	}
}

// TestLinks checks that every relative link of every Markdown file leads to a file.
func TestLinks(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)#\s]+)[^)]*\)|<img [^>]*src="([^"]+)"`)
	for _, file := range files(t) {
		if !strings.HasSuffix(file, ".md") || strings.Contains(file, "testdata/") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(root, file))
		if errors.Is(err, os.ErrNotExist) {
			continue // deleted, not yet committed
		} else if err != nil {
			t.Fatal(err)
		}
		for _, match := range link.FindAllStringSubmatch(string(text), -1) {
			to := match[1] + match[2]
			if strings.Contains(to, "://") || strings.HasPrefix(to, "mailto:") {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(file), to)); err != nil {
				t.Errorf("%s links to %s, which is not there", file, to)
			}
		}
	}
}

// TestREADMENamesEveryFault keeps the README's table of teeth whole.
func TestREADMENamesEveryFault(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range limittest.Faults {
		row := regexp.MustCompile(fmt.Sprintf("(?m)^\\| %s \\| .* \\| `%s` \\| `make reproduce-%[1]s` \\|$", fault.Name, fault.Check))
		if !row.Match(text) {
			t.Errorf("README.md has no row for the fault %s, caught by %s", fault.Name, fault.Check)
		}
	}
}

// TestREADMERuns runs the blocks of the README that stand behind
// <!-- runnable -->: each line that starts with "$ " is a command, all of a
// block run in one shell at the top of the tree. Behind <!-- runnable exact -->
// the output must be the text shown as well.
func TestREADMERuns(t *testing.T) {
	if testing.Short() {
		t.Skip("the README's blocks start real servers; not in -short")
	}
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)<!-- runnable( exact)? -->\n```[a-z]*\n(.*?)```")
	blocks := block.FindAllStringSubmatch(string(text), -1)
	if len(blocks) == 0 {
		t.Fatal("README.md has no runnable block")
	}
	for _, match := range blocks {
		var script, want []string
		for line := range strings.Lines(match[2]) {
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				script = append(script, command)
			} else {
				want = append(want, line)
			}
		}
		t.Run(strings.TrimSpace(script[0]), func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", strings.Join(script, ""))
			cmd.Dir = root
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%s\n%v\n%s", strings.Join(script, ""), err, out)
			}
			if match[1] != "" && string(out) != strings.Join(want, "") {
				t.Errorf("%s printed\n%s\nthe README shows\n%s", script[0], out, strings.Join(want, ""))
			}
		})
	}
}
