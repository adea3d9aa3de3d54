// The judge's word while the attack runs, with its margin, and at its end.
import { el, fill, say, chip } from "./dom.js";
import { number, span, count } from "./format.js";
import { store, on } from "./store.js";

export function verdictCard() {
  const head = el("h2", { id: "verdict", role: "status" }), sentence = el("p", { class: "sentence" });
  const gauge = el("div", { class: "gauge", role: "img" }, el("i"), el("b"));
  const margin = el("p", { class: "margin" }), small = el("p", { class: "small" });
  const evidence = el("details", {}, el("summary", {}, "What was judged"), el("table"));
  const node = el("section", { class: "card judge", "aria-labelledby": "verdict" }, head, sentence, gauge, margin, small, evidence);

  function show() {
    const s = store.state, v = store.verdict;
    if (!s || s.phase === "idle") return;
    const quiet = !v || v.tokens === 0;
    gauge.hidden = margin.hidden = quiet;
    evidence.hidden = !v || v.evidence.length === 0;
    node.className = "card judge " + (v ? v.verdict.replaceAll(" ", "-") : "");
    if (!v) {
      say(head, "Verdict");
      say(sentence, s.form.limit ? (s.phase === "done" ? "Nothing was recorded that could be judged." : "The judge speaks when there are a few answers.") : "No limit was promised, so there is nothing to judge. Name one in the form next time.");
      say(small, "");
      return;
    }
    const word = v.verdict === "so far" ? "holds so far" : v.verdict;
    if (head.textContent !== "Verdict " + word) fill(head, "Verdict ", chip(word));
    const text = v.sentence.replace(/^(holds|broken|inconclusive): /, "");
    say(sentence, text.charAt(0).toUpperCase() + text.slice(1) + (text.endsWith(".") ? "" : "."));
    const full = Math.min(v.percent / 125, 1);
    gauge.firstChild.style.width = 100 * full + "%";
    gauge.classList.toggle("over", v.margin < 0);
    gauge.setAttribute("aria-label", `${number(v.percent)} percent of what the limit allows`);
    say(margin, v.margin >= 0
      ? `Fullest window: ${count(v.tokens)} tokens in ${span(v.seconds)} where ${number(v.bound)} are allowed. Margin ${v.margin < 0.01 ? "below 0.01" : number(v.margin)} tokens: ${v.margin < 1 ? "the limit is used to the full" : "so much more would have fitted"}.`
      : `Fullest window: ${count(v.tokens)} tokens in ${span(v.seconds)} where ${number(v.bound)} are allowed: ${number(-v.margin)} too many.`);
    say(small, v.final ? `By all ${count(v.records)} records, limit ${v.limit}${v.key ? `, fullest for key ${v.key}` : ""}.`
      : `Limit ${v.limit}. Proved from the latest ${count(v.records)} records; the whole run is judged at its end.`);
    fill(evidence.lastChild, el("tbody", {}, v.evidence.map((l) => el("tr", {}, el("th", { scope: "row" }, l.Check), el("td", {}, v.final ? chip(l.Verdict) : ""), el("td", {}, l.Text)))));
  }

  on("verdict all state", show);
  return { node };
}
