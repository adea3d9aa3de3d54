// Runs: every folder under results/, its report, and two of them side by side.
import { el, fill, say, set, svg, chip } from "./dom.js";
import { count, span, since } from "./format.js";
import { on, ask } from "./store.js";
import { comparison } from "./compare.js";

export function runsPart(root) {
  const problem = el("p", { class: "note", hidden: true });
  const compare = el("button", { type: "button", class: "go", disabled: true, onclick: () => { location.hash = `#compare/${chosen.map(encodeURIComponent).join("/")}`; } }, "Compare");
  const hint = el("span", { class: "small" }, "Tick two runs to compare them.");
  const body = el("tbody");
  const table = el("div", { class: "scroll" }, el("table", { id: "run-list" }, el("thead", {}, el("tr", {},
    [["", ""], ["Verdict", ""], ["Run", ""], ["Load", ""], ["Over time", "spark"], ["Requests", "n"], ["Took", "n"], ["", "n"]].map(([t, c]) => el("th", { scope: "col", class: c }, t || el("span", { class: "hidden" }, "Choose or open"))))), body));
  const list = el("div", {}, el("div", { class: "bar" }, el("h1", {}, "Runs"), el("span", { class: "group" }, hint, compare)), problem, table);
  const side = el("div", { hidden: true });
  root.append(list, side);

  let chosen = [];
  const sparks = new Map(); // by run that has ended
  let loading = 0;

  async function show() {
    const [, a, b] = location.hash.match(/^#compare\/([^/]+)\/([^/]+)$/) || [];
    list.hidden = Boolean(b);
    side.hidden = !b;
    if (b) return comparison(side, decodeURIComponent(a), decodeURIComponent(b));
    const mine = ++loading;
    if (!body.firstChild) fill(body, el("tr", {}, el("td", { colspan: "8", class: "empty" }, "Reading the folders…")));
    try {
      const { runs, problem: trouble, more } = await ask("/api/runs");
      if (mine !== loading) return;
      problem.hidden = !trouble && !more;
      say(problem, [trouble && `Some folders cannot be read: ${trouble}`, more && `${count(more)} older runs are not listed.`].filter(Boolean).join(" "));
      chosen = chosen.filter((name) => runs.some((r) => r.name === name));
      fill(body, runs.length > 0 ? runs.map(row) : el("tr", {}, el("td", { colspan: "8", class: "empty" }, "No run yet. Start an attack, or run weir run, and it appears here.")));
      tickets();
      for (const r of runs) { // one after the other: each may read many records
        if (mine !== loading || root.hidden) return;
        await spark(r);
      }
    } catch (e) {
      if (mine === loading) fill(body, el("tr", {}, el("td", { colspan: "8", class: "empty" }, `The runs cannot be listed: ${e.message || "weir does not answer"}.`)));
    }
  }

  function row(r) {
    const box = el("input", { type: "checkbox", "aria-label": `Choose ${r.name}`, value: r.name, onchange: () => choose(r.name, box.checked) });
    box.checked = chosen.includes(r.name);
    const report = `/runs/${encodeURIComponent(r.name)}/report.html`;
    return el("tr", { "data-run": r.name, title: r.sentence || (r.notes || []).join("; ") },
      el("td", {}, box), el("td", {}, chip(r.ended ? r.verdict : "running")),
      el("td", { class: "run" }, el("a", { href: report, target: "_blank", rel: "noopener" }, r.suite), el("span", { title: r.started }, since(r.started))),
      el("td", { class: "what" }, r.plans > 1 ? `${count(r.plans)} plans` : r.load || "–", el("span", {}, r.sentence.replace(/^(holds|broken|inconclusive): /, ""))), el("td", { class: "spark" }, el("span", { class: "small" }, "…")),
      el("td", { class: "n" }, count(r.requests)), el("td", { class: "n" }, r.ended ? span(r.seconds) : "running"), el("td", { class: "n" }, el("a", { href: report, target: "_blank", rel: "noopener" }, "report")));
  }

  function choose(name, on) {
    chosen = chosen.filter((n) => n !== name);
    if (on) chosen.push(name);
    if (chosen.length > 2) chosen.shift();
    tickets();
  }

  function tickets() {
    for (const box of body.querySelectorAll("input[type=checkbox]")) box.checked = chosen.includes(box.value);
    set(compare, { disabled: chosen.length !== 2 });
    say(hint, ["Tick two runs to compare them.", "Tick one more.", "Two are chosen."][chosen.length]);
  }

  async function spark(r) {
    const cell = body.querySelector(`tr[data-run="${CSS.escape(r.name)}"] .spark`);
    if (!cell) return;
    let found = sparks.get(r.name);
    if (!found) {
      try {
        found = await ask(`/api/runs/${encodeURIComponent(r.name)}`);
        if (r.ended) sparks.set(r.name, found);
      } catch (e) {
        found = { why: e.message };
      }
    }
    fill(cell, found.why ? el("span", { class: "small", title: found.why }, "–") : sparkline(found));
  }

  on("runs", () => { if (!root.hidden) show(); });
  return { show };
}

// sparkline draws admitted under throttled under failed.
function sparkline({ admitted, throttled, failed }) {
  const n = admitted.length, w = 120, h = 24;
  const all = admitted.map((x, i) => x + throttled[i] + failed[i]);
  const most = Math.max(...all, 1e-9);
  const shape = (top, name) => {
    const points = top.map((y, i) => `${(n > 1 ? (i / (n - 1)) * w : w).toFixed(1)},${(h - (y / most) * (h - 2)).toFixed(1)}`);
    return svg("polygon", { points: `0,${h} ${n === 1 ? `0,${points[0].split(",")[1]} ` : ""}${points.join(" ")} ${w},${h}`, class: "s-" + name });
  };
  return svg("svg", { viewBox: `0 0 ${w} ${h}`, class: "sparkline", role: "img", "aria-label": "Requests over time by outcome" },
    shape(all, "failed"), shape(admitted.map((x, i) => x + throttled[i]), "throttled"), shape(admitted, "admitted"));
}
