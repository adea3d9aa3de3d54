package report

import (
	"fmt"
	"io"
	"strings"
)

// WriteMarkdown writes the report for places that render Markdown. Its pictures
// are the SVG files beside it.
func (r *Report) WriteMarkdown(w io.Writer) error {
	b := &strings.Builder{}
	fmt.Fprintf(b, "# weir: %s\n\n**%s.** %s\n\n", md(r.Name), md(r.Verdict), md(r.Sentence))
	for _, note := range r.notes() {
		fmt.Fprintf(b, "> %s\n\n", md(note))
	}
	for _, fact := range r.facts() {
		fmt.Fprintf(b, "- %s: `%s`\n", fact[0], strings.ReplaceAll(fact[1], "`", "'"))
	}
	b.WriteString("\n")
	if len(r.Plans) == 0 {
		b.WriteString("No plan was carried out in this run.\n")
	} else {
		mdTable(b, r.summaryTable(), 2)
		b.WriteString("\n" + aboutQuantiles + "\n")
	}
	for i := range r.Plans {
		r.Plans[i].markdown(b)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (p *Plan) markdown(b *strings.Builder) {
	fmt.Fprintf(b, "\n## %s\n\n", md(p.Name))
	for _, line := range []string{p.Question, p.Sentence} {
		if line != "" {
			fmt.Fprintf(b, "%s\n\n", md(line))
		}
	}
	if p.Error != "" {
		fmt.Fprintf(b, "Ended early: %s\n\n", md(p.Error))
	}
	fmt.Fprintf(b, "Load: %s. Limit: %s.\n\n", md(p.Load), md(orNone(p.Limit)))
	if line := p.redisLine(); line != "" {
		fmt.Fprintf(b, "%s.\n\n", md(line))
	}
	if p.Records == 0 {
		b.WriteString("No request was recorded.\n")
		return
	}
	if evidence := p.evidenceTable(); evidence != nil {
		mdTable(b, evidence, 3)
		b.WriteString("\n")
	}
	mdTable(b, p.outcomeTable(), 1)
	for _, kind := range p.plots() {
		fmt.Fprintf(b, "\n![%s](plots/%s/%s.svg)\n", kind.title, fileName(p.Name), kind.file)
	}
	if p.KeyCount > 1 {
		b.WriteString("\n")
		mdTable(b, p.keyTable(), 1)
	}
	if len(p.Targets) > 1 {
		b.WriteString("\n")
		mdTable(b, p.targetTable(), 1)
	}
	for _, line := range p.slowerLines() {
		fmt.Fprintf(b, "\n%s.\n", md(line))
	}
	if len(p.Errors) > 0 {
		b.WriteString("\n")
		mdTable(b, p.errorTable(), 1)
	}
}

func orNone(text string) string {
	if text == "" {
		return "none promised"
	}
	return text
}

// mdTable writes a table, the first columns to the left, numbers to the right.
func mdTable(b *strings.Builder, rows [][]string, left int) {
	for i, row := range rows {
		for _, text := range row {
			b.WriteString("| " + md(text) + " ")
		}
		b.WriteString("|\n")
		if i > 0 {
			continue
		}
		for column := range row {
			if column < left {
				b.WriteString("|---")
				continue
			}
			b.WriteString("|---:")
		}
		b.WriteString("|\n")
	}
}

// mdEscaper keeps text from a run (a key, an error, a URL) from being markup.
var mdEscaper = strings.NewReplacer(
	`\`, `\\`, "|", `\|`, "<", "&lt;", ">", "&gt;", "&", "&amp;", "`", "\\`",
	"*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "\n", " ", "\r", " ",
)

func md(text string) string { return mdEscaper.Replace(text) }
